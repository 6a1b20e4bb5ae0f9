//! Whether an answer is as the description of the API says.

use reqwest::Method;
use serde_json::{Map, Value};
use streamkeeper_orchestrator::adapter::http::openapi_json;

/// The description.
pub(super) struct Described(Value);

impl Described {
    pub(super) fn new() -> Self {
        Self(serde_json::from_str(openapi_json()).unwrap())
    }

    /// Every (path, method, status).
    pub(super) fn responses(&self) -> Vec<(String, String, u16)> {
        let mut all = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    all.push((path.clone(), method.clone(), status.parse().unwrap()));
                }
            }
        }
        all
    }

    /// Panics unless status, kind of content and every field are as described.
    pub(super) async fn check(
        &self,
        method: &Method,
        template: &str,
        response: reqwest::Response,
        shown: &str,
    ) {
        let status = response.status().as_str().to_owned();
        let method = method.as_str().to_lowercase();
        let described = &self.0["paths"][template][&method]["responses"][&status];
        assert!(described.is_object(), "{shown}: is not described");
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let kind = kind.split(';').next().unwrap().to_owned();
        let schema = &described["content"][&kind]["schema"];
        assert!(
            schema.is_object(),
            "{shown}: content of kind {kind} is not described"
        );
        let text = response.text().await.unwrap();
        if kind.ends_with("json") {
            let value: Value = serde_json::from_str(&text).unwrap();
            if let Err(reason) = self.fits(&value, schema, "") {
                panic!("{shown}: {reason}\n{value:#}");
            }
        }
    }

    /// Panics unless a line of an answer that is read line by line is as described.
    #[track_caller]
    pub(super) fn check_entry(&self, template: &str, entry: &Value) {
        let content = &self.0["paths"][template]["get"]["responses"]["200"]["content"];
        let schema = &content["application/x-ndjson"]["schema"];
        assert!(schema.is_object(), "{template}: lines are not described");
        if let Err(reason) = self.fits(entry, schema, "") {
            panic!("{template}: {reason}\n{entry:#}");
        }
    }

    /// All parts of a schema that an object must fit at once, references followed.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(name) = schema["$ref"].as_str() {
            let pointer = name.trim_start_matches('#');
            let found = self.0.pointer(pointer);
            return self.parts(found.unwrap_or_else(|| panic!("{name} is not described")));
        }
        match schema["allOf"].as_array() {
            Some(all) => all.iter().flat_map(|part| self.parts(part)).collect(),
            None => vec![schema],
        }
    }

    fn fits(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        let parts = self.parts(schema);
        let choices = parts.iter().find_map(|part| part["oneOf"].as_array());
        if let (Value::Object(object), true) = (value, parts.len() > 1) {
            let mut rest: Vec<&Value> = Vec::new();
            for part in &parts {
                match part["oneOf"].as_array() {
                    // One of several objects beside other fields, as it comes from flattened enums.
                    Some(choices) => rest.extend(
                        choices
                            .iter()
                            .filter(|choice| {
                                let names = choice["properties"].as_object();
                                names.is_some_and(|names| names.keys().all(|name| object.contains_key(name)))
                            })
                            .take(1),
                    ),
                    None => rest.push(part),
                }
            }
            return self.object_fits(object, &rest, place);
        }
        if let Some(choices) = choices {
            let reasons: Vec<String> = choices
                .iter()
                .filter_map(|choice| self.fits(value, choice, place).err())
                .collect();
            return if reasons.len() < choices.len() {
                Ok(())
            } else {
                Err(format!("{place}: fits none of the choices: {reasons:?}"))
            };
        }
        let schema = parts[0];
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{place}: {value} is none of {words:?}"));
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            Value::String(kind) => vec![kind.as_str()],
            _ => return Err(format!("{place}: the schema has no type: {schema}")),
        };
        if !kinds.iter().any(|kind| is(value, kind)) {
            return Err(format!("{place}: {value} is not {kinds:?}"));
        }
        match value {
            Value::Object(object) => self.object_fits(object, &parts, place),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| self.fits(item, &schema["items"], &format!("{place}/{index}"))),
            _ => Ok(()),
        }
    }

    fn object_fits(&self, object: &Map<String, Value>, parts: &[&Value], place: &str) -> Result<(), String> {
        for required in parts
            .iter()
            .filter_map(|part| part["required"].as_array())
            .flatten()
        {
            if !object.contains_key(required.as_str().unwrap()) {
                return Err(format!("{place}: {required} is missing"));
            }
        }
        for (name, value) in object {
            let described = parts.iter().find_map(|part| {
                part["properties"]
                    .get(name)
                    .or_else(|| part.get("additionalProperties"))
            });
            match described {
                Some(schema) => self.fits(value, schema, &format!("{place}/{name}"))?,
                None => return Err(format!("{place}/{name}: is not described")),
            }
        }
        Ok(())
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
