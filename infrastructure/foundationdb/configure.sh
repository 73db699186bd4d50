#!/bin/sh
# Makes the database where there is none, and ends. `configure new` is refused by a cluster that has a database, so even
# one that only does not answer yet is never made anew.
set -eu
redundancy=${1:-single}
attempts=${2:-60}
ask() { fdbcli -C /etc/enchanted/fdb.cluster --timeout 10 --exec "$1" 2>&1 || true; }
while [ "$attempts" -gt 0 ]; do
  case $(ask "status minimal") in
  *"The database is available"*) echo "The database is available."; exit 0 ;;
  esac
  answer=$(ask "configure new $redundancy ssd")
  echo "$answer"
  attempts=$((attempts - 1))
  sleep 2
done
echo "The database did not become available." >&2
exit 1
