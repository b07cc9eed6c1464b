//! What this interface can do, as it tells whoever asks.
//!
//! In scope: `ServiceProviderConfig`, `ResourceTypes`, `Schemas`.
//! Invariant: attributes that are not kept are in no schema.
//! Specification: RFC 7643, sections 5 to 7; RFC 7644, section 4.

use serde_json::{Value, json};

use super::{error::ScimError, group, list::MAX_COUNT, user};

const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

/// What there is.
pub(super) fn service_provider_config(base: &str) -> Value {
    let no = || json!({ "supported": false });
    json!({
        "schemas": [CONFIG],
        "documentationUri": "https://github.com/countersign/countersign/blob/main/docs/operations.md",
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MAX_COUNT },
        "changePassword": no(),
        "sort": no(),
        "etag": no(),
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "The token that the configuration of the gateway names.",
            "primary": true,
        }],
        "meta": meta("ServiceProviderConfig", &format!("{base}/ServiceProviderConfig")),
    })
}

fn meta(kind: &str, at: &str) -> Value {
    json!({ "resourceType": kind, "location": at })
}

/// The kinds of resources.
pub(super) fn resource_types(base: &str) -> Vec<Value> {
    let of = |name: &str, schema: &str| {
        json!({
            "schemas": [RESOURCE_TYPE],
            "id": name,
            "name": name,
            "endpoint": format!("/{name}s"),
            "schema": schema,
            "meta": meta("ResourceType", &format!("{base}/ResourceTypes/{name}")),
        })
    };
    vec![of("User", user::SCHEMA), of("Group", group::SCHEMA)]
}

/// The schemas.
pub(super) fn schemas(base: &str) -> Vec<Value> {
    let of = |id: &str, attributes: Vec<Value>| {
        let name = id.rsplit(':').next().unwrap_or(id);
        json!({
            "schemas": [SCHEMA],
            "id": id,
            "name": name,
            "description": name,
            "attributes": attributes,
            "meta": meta("Schema", &format!("{base}/Schemas/{id}")),
        })
    };
    vec![
        of(user::SCHEMA, of_user()),
        of(group::SCHEMA, of_group()),
        of(CONFIG, of_config()),
        of(RESOURCE_TYPE, of_resource_type()),
        of(SCHEMA, of_schema()),
    ]
}

/// The one of these with that identifier.
///
/// # Errors
/// There is none.
pub(super) fn one(all: Vec<Value>, what: &str, id: &str) -> Result<Value, ScimError> {
    let mut all = all.into_iter();
    let found = all.find(|one| one.get("id").and_then(Value::as_str) == Some(id));
    found.ok_or_else(|| ScimError::not_found(what, id))
}

fn of_user() -> Vec<Value> {
    let parts = vec![
        at("value string", "The address.", vec![]),
        at("type string", "`work`, `home` or another kind.", vec![]),
        at("primary boolean", "Whether it is the first one.", vec![]),
    ];
    vec![
        at(
            "userName string required server",
            "What the provider calls the user.",
            vec![],
        ),
        at("displayName string", "The name for people.", vec![]),
        at(
            "active boolean required",
            "Whether the user may act; `true` if nothing is said.",
            vec![],
        ),
        at("emails complex many", "Addresses.", parts),
    ]
}

fn of_group() -> Vec<Value> {
    let parts = vec![
        at(
            "value string exact immutable",
            "The `id` of the user.",
            vec![],
        ),
        at(
            "$ref reference exact immutable ref=User",
            "The address of the user.",
            vec![],
        ),
        at("type string immutable usual=User", "`User`.", vec![]),
    ];
    vec![
        at(
            "displayName string required server exact",
            "What the provider calls the group.",
            vec![],
        ),
        at("members complex many", "Users in the group.", parts),
    ]
}

fn of_config() -> Vec<Value> {
    let supported = || {
        at(
            "supported boolean required readOnly",
            "Whether there is that.",
            vec![],
        )
    };
    let feature = |name: &str, more: Vec<Value>| {
        let parts = std::iter::once(supported()).chain(more).collect();
        at(
            &format!("{name} complex required readOnly"),
            "A feature.",
            parts,
        )
    };
    let number = |name: &str| {
        at(
            &format!("{name} integer required readOnly"),
            "A limit.",
            vec![],
        )
    };
    let scheme = ["type", "name", "description"].map(|name| {
        at(
            &format!("{name} string required readOnly"),
            "Of the scheme.",
            vec![],
        )
    });
    vec![
        at(
            "documentationUri reference exact readOnly ref=external",
            "What to read.",
            vec![],
        ),
        feature("patch", vec![]),
        feature(
            "bulk",
            vec![number("maxOperations"), number("maxPayloadSize")],
        ),
        feature("filter", vec![number("maxResults")]),
        feature("changePassword", vec![]),
        feature("sort", vec![]),
        feature("etag", vec![]),
        at(
            "authenticationSchemes complex many required readOnly",
            "How to prove who calls.",
            scheme.into(),
        ),
    ]
}

fn of_resource_type() -> Vec<Value> {
    let uri = |name: &str| {
        at(
            &format!("{name} reference exact required readOnly ref=uri"),
            "An address.",
            vec![],
        )
    };
    let extension = vec![
        uri("schema"),
        at(
            "required boolean required readOnly",
            "Whether it must be there.",
            vec![],
        ),
    ];
    vec![
        at("id string readOnly", "Its identifier.", vec![]),
        at("name string required readOnly", "Its name.", vec![]),
        at("description string readOnly", "What it is.", vec![]),
        uri("endpoint"),
        uri("schema"),
        at(
            "schemaExtensions complex many readOnly",
            "Further schemas.",
            extension,
        ),
    ]
}

fn of_schema() -> Vec<Value> {
    let of_attribute = |parts: Vec<Value>| {
        let mut all = vec![
            at("name string exact required readOnly", "Its name.", vec![]),
            at("type string required readOnly", "Its type.", vec![]),
            at(
                "multiValued boolean required readOnly",
                "Whether it has several values.",
                vec![],
            ),
            at("description string readOnly", "What it is.", vec![]),
            at(
                "required boolean readOnly",
                "Whether it must be there.",
                vec![],
            ),
            at(
                "canonicalValues string many readOnly",
                "Usual values.",
                vec![],
            ),
            at(
                "caseExact boolean readOnly",
                "Whether capital letters matter.",
                vec![],
            ),
            at(
                "mutability string exact readOnly",
                "Whether it can be changed.",
                vec![],
            ),
            at("returned string exact readOnly", "When it is told.", vec![]),
            at(
                "uniqueness string exact readOnly",
                "Where it is unique.",
                vec![],
            ),
            at(
                "referenceTypes string exact many readOnly",
                "What it refers to.",
                vec![],
            ),
        ];
        all.extend(parts);
        all
    };
    let parts = at(
        "subAttributes complex many readOnly",
        "Its parts.",
        of_attribute(vec![]),
    );
    vec![
        at(
            "id string exact required readOnly",
            "Its identifier.",
            vec![],
        ),
        at("name string readOnly", "Its name.", vec![]),
        at("description string readOnly", "What it is.", vec![]),
        at(
            "attributes complex many required readOnly",
            "Its attributes.",
            of_attribute(vec![parts]),
        ),
    ]
}

/// An attribute from its name, its type, and words for what is other than usual.
fn at(words: &str, description: &str, parts: Vec<Value>) -> Value {
    let mut words = words.split(' ');
    let (name, kind) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let words: Vec<_> = words.collect();
    let has = |word: &str| words.contains(&word);
    let mutability = ["readOnly", "immutable"].into_iter().find(|one| has(one));
    let mut attribute = json!({
        "name": name,
        "type": kind,
        "multiValued": has("many"),
        "description": description,
        "required": has("required"),
        "caseExact": has("exact"),
        "mutability": mutability.unwrap_or("readWrite"),
        "returned": "default",
        "uniqueness": if has("server") { "server" } else { "none" },
    });
    let with = |start: &str| -> Vec<_> {
        let words = words.iter();
        words.filter_map(|word| word.strip_prefix(start)).collect()
    };
    let (references, usual) = (with("ref="), with("usual="));
    if let Some(fields) = attribute.as_object_mut() {
        if !references.is_empty() {
            fields.insert("referenceTypes".into(), json!(references));
        }
        if !usual.is_empty() {
            fields.insert("canonicalValues".into(), json!(usual));
        }
        if !parts.is_empty() {
            fields.insert("subAttributes".into(), parts.into());
        }
    }
    attribute
}
