# Proves that this cluster's CNI enforces NetworkPolicies at all: this pod is selected by one that allows no egress, so that
# what the readiness test reached must be out of reach. Three failures in a row count; a CNI may take a while to begin.
eval "host=\$$SERVICE_VARIABLE"
case "$host" in *:*) host="[$host]" ;; esac
url="http://$host:$PORT/readyz"
attempt=0
blocked=0
while [ "$attempt" -lt 30 ]; do
  if wget -q -T 2 -O /dev/null "$url"; then
    blocked=0
    sleep 2
  else
    blocked=$((blocked + 1))
  fi
  if [ "$blocked" -ge 3 ]; then
    echo "enforced: $url is out of reach, as the NetworkPolicy says"
    exit 0
  fi
  attempt=$((attempt + 1))
done
echo "NOT ENFORCED: $url answers a pod whose NetworkPolicy allows no egress."
echo "This cluster accepts NetworkPolicies and does nothing with them (plain flannel, for one). A CitrixAllowlist can be"
echo "Ready there and still protect nothing. Install a CNI that enforces them, or set tests.enforcement=false."
exit 1
