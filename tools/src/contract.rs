//! The OpenAPI document as a contract: what the server answers is what the document says.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::client::Answer;

/// What the front says before a request has reached its route. The document has these
/// statuses once for all routes.
const OF_THE_FRONT: [u16; 9] = [400, 408, 413, 415, 417, 431, 501, 503, 505];

/// Where the document has them.
const FRONT: &str = "default";

/// The document's operations by method and path.
static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let text = include_str!("../../server/src/api/openapi.json");
    let document: Value = serde_json::from_str(text).expect("the document is JSON");
    read_operations(&document)
});

/// A method at a path, and all that it may answer.
struct Operation {
    method: String,
    path: String,
    /// By status, as the document writes it: [`FRONT`] for what all routes have in common.
    responses: HashMap<String, Contents>,
}

/// What a response may be: the schema of its body by media type. A response without any
/// has no body.
type Contents = HashMap<String, Option<Validator>>;

/// Compares an answer with the document. An answer of a path that the document does not
/// know, such as a file of the dashboard, is fine.
///
/// # Errors
/// What is wrong with the answer.
pub fn check(method: &str, target: &str, answer: &Answer) -> Result<(), String> {
    let Some(operation) = find(method, target) else {
        return Ok(());
    };
    let status = answer.status;
    let named = operation.responses.get(&status.to_string());
    let of_the_front = OF_THE_FRONT.contains(&status);
    let response =
        named.or_else(|| operation.responses.get(FRONT).filter(|_| of_the_front));
    let Some(contents) = response else {
        return Err(format!("the document has no status {status}"));
    };
    if method == "HEAD" || contents.is_empty() {
        let is_empty = answer.body.is_empty();
        return is_empty
            .then_some(())
            .ok_or_else(|| "there is a body".into());
    }

    let content_type = answer.header("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let Some(validator) = contents.get(media_type) else {
        return Err(format!("the document has no {content_type:?} for {status}"));
    };
    // A compressed body is the plain one's, which other tests compare.
    let is_plain = answer.header("content-encoding").is_none();
    match validator {
        Some(validator) if is_plain => compare(validator, &answer.body),
        _ => Ok(()),
    }
}

fn compare(validator: &Validator, body: &[u8]) -> Result<(), String> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body: {error}"))?;
    validator
        .validate(&body)
        .map_err(|error| format!("{}: {error}", error.instance_path()))
}

fn find(method: &str, target: &str) -> Option<&'static Operation> {
    let method = if method == "HEAD" { "GET" } else { method };
    let path = target.split('?').next().unwrap_or_default();
    let named = OPERATIONS
        .iter()
        .filter(|operation| operation.method == method && is_at(&operation.path, path));
    // A path without parameters goes before one with.
    named.min_by_key(|operation| operation.path.matches('{').count())
}

/// Whether the path is one that `pattern` stands for.
fn is_at(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern
            .zip(path)
            .all(|(wanted, segment)| wanted.starts_with('{') || wanted == segment)
}

fn read_operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in members(&document["paths"]) {
        for (method, operation) in members(methods) {
            if method == "parameters" {
                continue;
            }
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                responses: members(&operation["responses"])
                    .map(|(status, response)| {
                        (status.clone(), read_contents(document, response))
                    })
                    .collect(),
            });
        }
    }
    operations
}

fn read_contents(document: &Value, response: &Value) -> Contents {
    let response = match response["$ref"].as_str() {
        Some(to) => document
            .pointer(to.trim_start_matches('#'))
            .expect("the reference leads somewhere"),
        None => response,
    };
    members(&response["content"])
        .map(|(media_type, content)| {
            let is_json = media_type.ends_with("json");
            let schema = is_json.then(|| compile(document, &content["schema"]));
            (media_type.clone(), schema)
        })
        .collect()
}

/// A schema with what it refers to.
fn compile(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("the schema is valid")
}

/// An object's members; none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        Answer {
            status,
            headers: [("content-type".to_owned(), content_type.to_owned())].into(),
            body: body.into(),
        }
    }

    #[test]
    fn an_answer_is_held_to_status_type_and_schema() {
        let me = r#"{"username": "ann", "role": "admin", "totp": false, "scope": null}"#;
        let json = "application/json";
        assert_eq!(check("GET", "/me?x=1", &answer(200, json, me)), Ok(()));
        for (wrong, why) in [
            (answer(418, json, me), "no status 418"),
            (answer(200, "text/html", me), "no \"text/html\""),
            (
                answer(
                    200,
                    json,
                    r#"{"username": "ann", "totp": false, "scope": null}"#,
                ),
                "role",
            ),
            (answer(200, json, "{"), "the body"),
            (answer(503, json, me), "no \"application/json\" for 503"),
        ] {
            let told = check("GET", "/me", &wrong).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_path_with_a_parameter_is_found_by_its_segments() {
        let found = |path| find("GET", path).map(|operation| operation.path.as_str());
        assert_eq!(found("/server/%3A%3A1"), Some("/server/{ip}"));
        assert_eq!(found("/server/1.2.3.4/config"), None);
        assert_eq!(found("/licenses.md"), None);
    }
}
