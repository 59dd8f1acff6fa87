//! Pieces of schema that derive cannot say: bounds on Kubernetes' own types, and integers that may be strings.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The name in a label's key, and a value that is not empty (k8s.io/apimachinery, `validation.IsQualifiedName` and
/// `IsValidLabelValue`).
macro_rules! label_name {
    () => {
        "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    };
}
/// The part before the slash in a label's key (k8s.io/apimachinery, `validation.IsDNS1123Subdomain`).
macro_rules! label_prefix {
    () => {
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
    };
}

/// What a label's key must match, besides having 253 characters at most before its slash.
const LABEL_KEY: &str = concat!("^(", label_prefix!(), "/)?", label_name!(), "$");
/// What a label's value must match.
const LABEL_VALUE: &str = concat!("^(", label_name!(), ")?$");
/// The longest prefix of a label's key, in characters.
const LONGEST_PREFIX: usize = 253;

/// A `LabelSelector` that Kubernetes can act on, with bounds: its own has none, and one resource may not exhaust the operator.
///
/// Kubernetes' own schema takes any text, and refuses it where the selector is used: in the operator's own policies.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    // 63 is the longest label value; 317 the longest key: a 253 character prefix, a slash, 63 characters.
    json_schema!({
        "type": "object",
        "default": {},
        "properties": {
            "matchLabels": {
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
                "description": "Labels that a pod must carry, each with the given value.",
                // Keys have no schema of their own.
                "x-kubernetes-validations": [{
                    "rule": format!("self.all(key, key.matches('{LABEL_KEY}') && key.indexOf('/') <= {LONGEST_PREFIX})"),
                    "message": "each key of matchLabels must be a label's key: an optional DNS name with a slash after it, and 1 to 63 letters, digits, '-', '_' and '.', the first and the last a letter or digit"
                }]
            },
            "matchExpressions": {
                "type": "array",
                "maxItems": 32,
                "description": "Requirements that a pod's labels must meet, all of them.",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 317,
                            "pattern": LABEL_KEY,
                            "description": "The label's key."
                        },
                        "operator": {
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "How the label is compared."
                        },
                        "values": {
                            "type": "array",
                            "maxItems": 64,
                            "items": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
                            "description": "What In and NotIn compare with, which need one at least; none for Exists and DoesNotExist."
                        }
                    },
                    "x-kubernetes-validations": [
                        {
                            "rule": "(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && size(self.values) > 0)",
                            "message": "In and NotIn need values, Exists and DoesNotExist take none"
                        },
                        {
                            "rule": format!("self.key.indexOf('/') <= {LONGEST_PREFIX}"),
                            "message": format!("the DNS name before the slash of a key may have {LONGEST_PREFIX} characters at most")
                        }
                    ]
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
