//! Pieces of schema that derive cannot say: bounds on Kubernetes' own types, and integers that may be strings.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A `LabelSelector` with bounds: Kubernetes' own has none, and one resource may not exhaust the operator.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    // 63 is the longest label value; 317 the longest key: a 253 character prefix, a slash, 63 characters.
    json_schema!({
        "type": "object",
        "default": {},
        "properties": {
            "matchLabels": {
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": { "type": "string", "maxLength": 63 },
                "description": "Labels that a pod must carry, each with the given value."
            },
            "matchExpressions": {
                "type": "array",
                "maxItems": 32,
                "description": "Requirements that a pod's labels must meet, all of them.",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "minLength": 1, "maxLength": 317, "description": "The label's key." },
                        "operator": {
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "How the label is compared."
                        },
                        "values": {
                            "type": "array",
                            "maxItems": 64,
                            "items": { "type": "string", "maxLength": 63 },
                            "description": "What In and NotIn compare with; empty for Exists and DoesNotExist."
                        }
                    }
                }
            }
        }
    })
}

/// Ports as the vendor writes them: `443`, `"80,443"`, `"8080-8090"`.
pub(super) fn ports(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 65535,
        "maxLength": 512,
        "pattern": "^ *[0-9]{1,5}( *- *[0-9]{1,5})?( *, *[0-9]{1,5}( *- *[0-9]{1,5})?)* *$"
    })
}
