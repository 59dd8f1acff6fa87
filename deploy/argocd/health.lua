-- Health of a citrix-allowlist.io/CitrixAllowlist for Argo CD: resource.customizations.health.citrix-allowlist.io_CitrixAllowlist
-- in ConfigMap argocd-cm. docs/gitops.md says how to install it.

local waiting = {
  Progressing = true,
  WaitingForFeed = true,
  WaitingForNames = true,
}

local function condition(type)
  if obj.status == nil or obj.status.conditions == nil then
    return nil
  end
  for _, candidate in ipairs(obj.status.conditions) do
    if candidate.type == type then
      return candidate
    end
  end
  return nil
end

local function health(status, message)
  local hs = {}
  hs.status = status
  hs.message = message or ""
  return hs
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "Being deleted")
end

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to see this generation")
end

if obj.spec.suspend == true then
  return health("Suspended", "What is applied stays as it is, and nothing is done")
end

local stalled = condition("Stalled")
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled.message)
end

local ready = condition("Ready")
if ready == nil then
  return health("Progressing", "Waiting for condition Ready")
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
if waiting[ready.reason] then
  return health("Progressing", ready.message)
end
local reconciling = condition("Reconciling")
if reconciling ~= nil and reconciling.status == "True" then
  return health("Progressing", ready.message)
end
return health("Degraded", ready.message)
