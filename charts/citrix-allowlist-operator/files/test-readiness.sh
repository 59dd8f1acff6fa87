# Proves that a replica is ready to work, as the Service reaches it.
eval "host=\$$SERVICE_VARIABLE"
case "$host" in *:*) host="[$host]" ;; esac
url="http://$host:$PORT/readyz"
attempt=0
while [ "$attempt" -lt 30 ]; do
  if wget -q -T 2 -O - "$url"; then
    echo "ready: $url"
    exit 0
  fi
  attempt=$((attempt + 1))
  sleep 2
done
echo "not ready after a minute: $url. See: kubectl logs deploy/<release>, kubectl describe pod"
exit 1
