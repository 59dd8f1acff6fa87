# Active Directory: run this on one domain controller; replication brings it to the others.
# Domain controllers must reach the first address: that of a Service is reached from outside the cluster
# only where your network routes it. Allow them in forwarder.from, as an ipBlock.
# They may not be the operator's own forwarder.upstreams: questions would go round in a circle.
# A zone that is there already: Set-DnsServerConditionalForwarderZone -Name ZONE -MasterServers ...
Add-DnsServerConditionalForwarderZone -Name "blob.core.windows.net" -MasterServers 10.96.0.77, 10.0.0.2 -ForwarderTimeout 2 -ReplicationScope "Forest"
Add-DnsServerConditionalForwarderZone -Name "citrixworkspacesapi.net" -MasterServers 10.96.0.77, 10.0.0.2 -ForwarderTimeout 2 -ReplicationScope "Forest"
Add-DnsServerConditionalForwarderZone -Name "servicebus.windows.net" -MasterServers 10.96.0.77, 10.0.0.2 -ForwarderTimeout 2 -ReplicationScope "Forest"
