//! The JSON schema of the configuration file, for editors: made of the same tables that the reader goes by.

use serde_json::{Map, Value, json};

use super::schema::{FILE, Keys, Kind};

/// The schema of a configuration file (JSON Schema draft 2020-12; TOML has the same values). It knows names and kinds of
/// settings; what values mean, and which fit together, is for `dhcp-xdp check`.
pub fn json_schema() -> Value {
    let mut schema = table(FILE);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".into(), json!("dhcp-xdp"));
    }
    schema
}

fn table(lists: &[Keys]) -> Value {
    let keys = lists.iter().flat_map(|list| list.iter());
    let properties: Map<String, Value> = keys.map(|(name, kind)| ((*name).to_owned(), value(*kind))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn value(kind: Kind) -> Value {
    let list = |element: Kind| json!({"type": "array", "items": value(element)});
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::IntegerOrText => json!({"type": ["integer", "string"]}),
        Kind::Number => json!({"type": "number"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Texts => list(Kind::Text),
        Kind::Integers => list(Kind::Integer),
        // Names and types of options are the registry's and the file's own.
        Kind::Options => json!({"type": "object"}),
        Kind::Table(lists) => table(lists),
        Kind::Tables(lists) => json!({"type": "array", "items": table(lists)}),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::schema::{all_names, every_setting},
        *,
    };

    /// Checks that a value is as a schema says, as far as ours go.
    fn fits(value: &toml::Value, schema: &Value, path: &str) {
        let is = |name: &str| match &schema["type"] {
            Value::Array(types) => types.iter().any(|one| one == name),
            one => one == name,
        };
        match value {
            toml::Value::Table(table) => {
                assert!(is("object"), "{path}: {schema}");
                let Some(properties) = schema["properties"].as_object() else { return };
                for (key, value) in table {
                    let property = properties.get(key).unwrap_or_else(|| panic!("{path}.{key}"));
                    fits(value, property, &format!("{path}.{key}"));
                }
            }
            toml::Value::Array(values) => {
                assert!(is("array"), "{path}: {schema}");
                values.iter().for_each(|value| fits(value, &schema["items"], path));
            }
            toml::Value::String(text) => {
                assert!(is("string"), "{path}: {schema}");
                let words = schema["enum"].as_array();
                assert!(words.is_none_or(|words| words.iter().any(|word| word == text)), "{path}: {schema}");
            }
            toml::Value::Integer(_) => assert!(is("integer") || is("number"), "{path}: {schema}"),
            toml::Value::Float(_) => assert!(is("number"), "{path}: {schema}"),
            toml::Value::Boolean(_) => assert!(is("boolean"), "{path}: {schema}"),
            toml::Value::Datetime(_) => panic!("{path}"),
        }
    }

    #[test]
    fn every_example_is_as_the_schema_says() {
        let schema = json_schema();
        for text in [
            include_str!("../../../examples/dhcp-xdp.toml"),
            include_str!("../../../examples/ftth.toml"),
            include_str!("../../../examples/cable.toml"),
            include_str!("../../../examples/hotel.toml"),
            include_str!("../../../examples/qinq.toml"),
            include_str!("../../../examples/vpn.toml"),
        ] {
            fits(&toml::from_str(text).unwrap(), &schema, "");
        }
    }

    #[test]
    fn a_file_with_every_setting_is_as_the_schema_says() {
        fits(&toml::from_str(&every_setting()).unwrap(), &json_schema(), "");
        for (text, wanted) in
            [("vlan = 7", true), ("vlan = \"7.8\"", true), ("vlan = 7.5", false), ("vlan = true", false)]
        {
            let table = toml::from_str(&format!("[[subnet]]\n{text}\n")).unwrap();
            let is_fit = std::panic::catch_unwind(|| fits(&table, &json_schema(), "")).is_ok();
            assert_eq!(is_fit, wanted, "{text}");
        }
    }

    #[test]
    fn the_schema_has_no_setting_that_the_reader_has_not_and_every_table_is_closed() {
        fn names(schema: &Value, found: &mut Vec<String>) {
            if let Some(properties) = schema["properties"].as_object() {
                assert_eq!(schema["additionalProperties"], false, "{schema}");
                for (name, property) in properties {
                    found.push(name.clone());
                    names(property, found);
                    names(&property["items"], found);
                }
            }
        }
        let mut found = Vec::new();
        names(&json_schema(), &mut found);
        let mut known: Vec<String> = all_names().into_iter().map(str::to_owned).collect();
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    #[should_panic(expected = ".subnet.prefx")]
    fn a_name_that_is_not_there_is_not_as_the_schema_says() {
        fits(&toml::from_str("subnet = [{ prefx = 1 }]").unwrap(), &json_schema(), "");
    }
}
