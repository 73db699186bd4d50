#!/bin/sh
# One FoundationDB server. The cluster file is copied once: servers rewrite theirs when coordinators change, and it must
# still be there after a restart.
set -eu
folder=/var/fdb/data
mkdir -p "$folder/data" "$folder/logs"
[ -s "$folder/fdb.cluster" ] || cp /etc/enchanted/fdb.cluster "$folder/fdb.cluster"
exec fdbserver --cluster-file "$folder/fdb.cluster" --datadir "$folder/data" --logdir "$folder/logs" \
  --public-address "$ENCHANTED_FDB_ADDRESS:4500" --listen-address "$ENCHANTED_FDB_ADDRESS:4500" \
  --locality-zoneid "$ENCHANTED_FDB_ADDRESS" --memory 4GiB --storage-memory 1GiB --logsize 10MiB --maxlogssize 100MiB
