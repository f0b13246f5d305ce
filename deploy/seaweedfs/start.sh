#!/bin/sh
# Start SeaweedFS with the identities of identities.json, their keys taken from the environment.
# S3 listens for everyone; the inner ports, which ask for no key, for this machine alone.
set -eu
umask 077
data=${SEAWEEDFS_DATA:-/data}
identities=${SEAWEEDFS_RUN:-/run/seaweedfs}/identities.json

for name in S3_ADMIN_ACCESS_KEY S3_ADMIN_SECRET_KEY S3_ACCESS_KEY S3_SECRET_KEY; do
  eval "value=\${$name:-}"
  case $value in
    '' | *[!A-Za-z0-9_/+=.-]*)
      echo "$name is missing, or holds more than letters, digits and _ / + = . -" >&2
      exit 1
      ;;
  esac
done
awk '{
  for (name in ENVIRON) if (name ~ /^S3_(ADMIN_)?(ACCESS|SECRET)_KEY$/) gsub("\\$\\{" name "\\}", ENVIRON[name])
  print
}' "$(dirname "$0")/identities.json" >"$identities"

# SeaweedFS takes settings, and administrators, from variables it knows: it sees none of ours.
exec env -i PATH="$PATH" WEED_MASTER_VOLUME_GROWTH_COPY_1=1 \
  weed -logtostderr=true server -dir="$data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -filer \
  -s3 -s3.ip.bind=0.0.0.0 -s3.config="$identities" -s3.autoCreateBucket=false -s3.iam=false \
  -s3.port.iceberg=0 -s3.port.lance=0 -volume.max=0 -volume.minFreeSpace=1GiB -volume.preStopSeconds=0 \
  -master.volumeSizeLimitMB=1024 -master.electionTimeout=1s -master.telemetry=false "$@"
