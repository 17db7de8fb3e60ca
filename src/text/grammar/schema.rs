//! A JSON schema before it is compiled: small enough, made of keywords that are followed, references that lead somewhere.
//! What the standard calls annotations is taken out where the library would refuse it; keywords it cannot follow are
//! refused by their path, since an answer that ignores them would not be what was asked for.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::compile::Flaw;
use super::limits::{CHOICES, COUNT, DEPTH, PROPERTIES, SCHEMAS, SOURCE_BYTES};
use super::{exact, union};

/// Keywords that hold one schema, a list of them, and a map of them. `items` may hold a list in older drafts.
pub(super) const ONE: &[&str] = &["additionalItems", "additionalProperties", "items"];
pub(super) const LISTS: &[&str] = &["allOf", "anyOf", "items", "oneOf", "prefixItems"];
pub const MAPS: &[&str] = &["$defs", "definitions", "patternProperties", "properties"];

const COUNTS: &[&str] = &[
    "maxItems",
    "maxLength",
    "maxProperties",
    "minItems",
    "minLength",
    "minProperties",
];

/// Of the standard, and not followed.
const REFUSED: &[&str] = &[
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "contains",
    "contentSchema",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "x-guidance",
];

/// Say nothing about which values are allowed.
const ANNOTATIONS: &[&str] = &[
    "deprecated",
    "discriminator",
    "example",
    "externalDocs",
    "xml",
];

/// Formats of the standard that are not followed. Names that the standard does not have are annotations.
const FORMATS: &[&str] = &[
    "idn-email",
    "idn-hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
];
const FOLLOWED_FORMATS: &[&str] = &[
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
];

/// The schema as the compiler takes it.
pub fn prepare(schema: &Value) -> Result<Value, Flaw> {
    let bytes = size(schema, SOURCE_BYTES);
    if bytes > SOURCE_BYTES {
        let why = format!("has more than the {SOURCE_BYTES} bytes that are compiled");
        return Err(Flaw::too_complex("", why));
    }
    match schema {
        Value::Object(_) => {}
        Value::Bool(true) => return Ok(Value::Object(Map::new())),
        Value::Bool(false) => return Err(Flaw::new("", "allows no value")),
        _ => return Err(Flaw::new("", "must be a schema: an object")),
    }
    let mut root = schema.clone();
    let mut walk = Walk::new(schema);
    walk.schema(&mut root, &Place::Root, 0)?;
    // References may lead to where no keyword does, `#/components/…` say.
    while let Some((target, from)) = walk.references.pop() {
        if walk.seen.contains(&target) {
            continue;
        }
        match root.pointer_mut(&target) {
            Some(found) => walk.schema(found, &Place::Pointer(&target), 0)?,
            None => {
                let why = format!("leads to `#{target}`, which is not there");
                return Err(Flaw::new(from, why));
            }
        }
    }
    walk.no_circles()?;
    Ok(root)
}

/// Bytes of a value written out, or some number above `most`.
fn size(value: &Value, most: usize) -> usize {
    let mut sum = 0usize;
    let mut stack = vec![value];
    while let Some(value) = stack.pop() {
        sum += match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                stack.extend(items);
                items.len() + 2
            }
            Value::Object(map) => {
                stack.extend(map.values());
                map.keys().map(|key| key.len() + 4).sum::<usize>() + 2
            }
            _ => 4,
        };
        if sum > most {
            break;
        }
    }
    sum
}

/// Where in the schema.
enum Place<'a> {
    Root,
    /// Where a reference led.
    Pointer(&'a str),
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// As programmers write it.
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Pointer(pointer) => pointer[1..].replace('/', "."),
            Self::Key(up, key) => {
                let key: String = key.chars().take(80).collect();
                match up.path() {
                    up if up.is_empty() => key,
                    up => format!("{up}.{key}"),
                }
            }
            Self::Index(up, at) => format!("{}[{at}]", up.path()),
        }
    }

    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Pointer(pointer) => (*pointer).to_owned(),
            Self::Key(up, key) => format!("{}/{key}", up.pointer()),
            Self::Index(up, at) => format!("{}/{at}", up.pointer()),
        }
    }
}

struct Walk<'v> {
    /// All of the schema, as it came.
    whole: &'v Value,
    /// What a schema's own address is called in its draft.
    id: &'static str,
    /// Within a part that has an address of its own.
    apart: bool,
    schemas: usize,
    properties: usize,
    values: usize,
    /// Comparisons of schemas that may still be made.
    compared: usize,
    /// Pointers of schemas that were walked.
    seen: HashSet<String>,
    /// Pointers to walk, each with the path of what refers to it.
    references: Vec<(String, String)>,
    /// Schemas that are what another is, by pointer, with the path that says so.
    same: HashMap<String, (String, String)>,
}

impl<'v> Walk<'v> {
    fn new(whole: &'v Value) -> Self {
        let named = whole["$schema"].as_str().unwrap_or_default();
        Self {
            whole,
            id: match named.contains("draft-04") {
                true => "id",
                false => "$id",
            },
            apart: false,
            schemas: 0,
            properties: 0,
            values: 0,
            compared: union::COMPARED,
            seen: HashSet::new(),
            references: Vec::new(),
            same: HashMap::new(),
        }
    }

    fn schema(&mut self, value: &mut Value, at: &Place<'_>, depth: usize) -> Result<(), Flaw> {
        self.schemas += 1;
        if self.schemas > SCHEMAS {
            let why = format!("is one schema more than the {SCHEMAS} that are compiled");
            return Err(Flaw::too_complex(at.path(), why));
        }
        if depth > DEPTH {
            let why = format!("lies deeper than the {DEPTH} schemas that may be in one another");
            return Err(Flaw::too_complex(at.path(), why));
        }
        let pointer = at.pointer();
        self.seen.insert(pointer.clone());
        let map = match value {
            Value::Object(map) => map,
            Value::Bool(_) => return Ok(()),
            _ => return Err(Flaw::new(at.path(), "must be a schema: an object")),
        };
        map.retain(|key, value| !says_nothing(key, value));
        let refused = |(key, why): (&str, _)| Flaw::new(Place::Key(at, key).path(), why);
        exact::rewrite(map).map_err(refused)?;
        let outer = self.apart;
        let address = map.get(self.id).and_then(Value::as_str);
        self.apart |= depth > 0 && address.is_some_and(|id| !id.starts_with('#'));
        for (key, value) in map.iter_mut() {
            let at = Place::Key(at, key);
            self.keyword(key, value, &at, depth, &pointer)?;
        }
        self.apart = outer;
        union::settle(map, self.whole, &mut self.compared);
        Ok(())
    }

    fn keyword(
        &mut self,
        key: &str,
        value: &mut Value,
        at: &Place<'_>,
        depth: usize,
        of: &str,
    ) -> Result<(), Flaw> {
        if REFUSED.contains(&key) {
            return Err(Flaw::new(at.path(), "is not a keyword that is followed"));
        }
        if key == "nullable" {
            let why = "is not a keyword of JSON Schema; write {\"type\": [\"string\", \"null\"]}";
            return Err(Flaw::new(at.path(), why));
        }
        match value {
            Value::Array(items) if LISTS.contains(&key) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.schema(item, &Place::Index(at, index), depth + 1)?;
                }
                return Ok(());
            }
            value if ONE.contains(&key) => return self.schema(value, at, depth + 1),
            Value::Object(map) if MAPS.contains(&key) => {
                if key.to_ascii_lowercase().ends_with("properties") {
                    self.properties += map.len();
                }
                if self.properties > PROPERTIES {
                    let why = format!("has more names than the {PROPERTIES} that are compiled");
                    return Err(Flaw::too_complex(at.path(), why));
                }
                for (name, schema) in map.iter_mut() {
                    self.schema(schema, &Place::Key(at, name), depth + 1)?;
                }
                return Ok(());
            }
            _ => {}
        }
        match key {
            "$ref" => self.reference(value, at, of),
            "enum" => self.values(value, at),
            "format" => format(value, at),
            key if COUNTS.contains(&key) => count(value, at),
            key if LISTS.contains(&key) => Err(Flaw::new(at.path(), "must be a list of schemas")),
            key if MAPS.contains(&key) => Err(Flaw::new(at.path(), "must be an object of schemas")),
            _ => meant(key, at),
        }
    }

    fn reference(&mut self, value: &Value, at: &Place<'_>, of: &str) -> Result<(), Flaw> {
        let Some(text) = value.as_str() else {
            return Err(Flaw::new(at.path(), "must be a text"));
        };
        if self.apart {
            let why = "lies in a part with an address of its own, from where it leads elsewhere";
            return Err(Flaw::new(at.path(), why));
        }
        let target = match text.strip_prefix('#') {
            Some("" | "/") => "",
            Some(target) if target.starts_with('/') && !target.contains(['~', '%']) => target,
            _ => {
                let why = "must lead to another part of this schema, as `#/$defs/name`";
                return Err(Flaw::new(at.path(), why));
            }
        };
        self.references.push((target.to_owned(), at.path()));
        self.same
            .insert(of.to_owned(), (target.to_owned(), at.path()));
        Ok(())
    }

    fn values(&mut self, value: &Value, at: &Place<'_>) -> Result<(), Flaw> {
        let Value::Array(items) = value else {
            return Err(Flaw::new(at.path(), "must be a list of values"));
        };
        if items.is_empty() {
            return Err(Flaw::new(at.path(), "needs at least one value"));
        }
        self.values += items.len();
        if self.values > CHOICES {
            let why = format!("has more values than the {CHOICES} that are compiled");
            return Err(Flaw::too_complex(at.path(), why));
        }
        Ok(())
    }

    /// A schema that is another that is the first again allows nothing.
    fn no_circles(&self) -> Result<(), Flaw> {
        for start in self.same.keys() {
            let mut at = start;
            for _ in 0..=self.same.len() {
                let Some((next, path)) = self.same.get(at) else {
                    break;
                };
                if next == start {
                    let why = "leads back to itself without a value in between";
                    return Err(Flaw::new(path.clone(), why));
                }
                at = next;
            }
        }
        Ok(())
    }
}

/// Annotations, and keywords in the form that asks for nothing.
fn says_nothing(key: &str, value: &Value) -> bool {
    let annotates = ANNOTATIONS.contains(&key)
        || (key.starts_with("x-") && key != "x-guidance")
        || (key == "format"
            && value
                .as_str()
                .is_some_and(|name| !FORMATS.contains(&name) && !FOLLOWED_FORMATS.contains(&name)));
    let off = match key {
        "uniqueItems" | "nullable" => value == false,
        // All names are texts: zod says so of every record.
        "propertyNames" => {
            *value == json!({"type": "string"}) || *value == json!({}) || value == true
        }
        "unevaluatedItems" | "unevaluatedProperties" => value == true,
        _ => false,
    };
    annotates || off
}

fn format(value: &Value, at: &Place<'_>) -> Result<(), Flaw> {
    match value.as_str() {
        Some(name) if FORMATS.contains(&name) => {
            let known = FOLLOWED_FORMATS.join(", ");
            let why = format!("`{name}` is not a format that is followed; those are {known}");
            Err(Flaw::new(at.path(), why))
        }
        Some(_) => Ok(()),
        None => Err(Flaw::new(at.path(), "must be a text")),
    }
}

fn count(value: &Value, at: &Place<'_>) -> Result<(), Flaw> {
    // Some writers make 3.0 of 3.
    let whole = value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0);
    match whole {
        Some(count) if count <= COUNT as f64 => Ok(()),
        Some(_) => Err(Flaw::too_complex(
            at.path(),
            format!("is more than the {COUNT} that are counted"),
        )),
        None => Err(Flaw::new(at.path(), "must be a whole number from 0 on")),
    }
}

/// Keywords that are followed, for those who misspell one.
const KEYWORDS: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "definitions",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
];

/// A keyword that the standard does not have is an annotation, unless it is nearly one that is followed.
fn meant(key: &str, at: &Place<'_>) -> Result<(), Flaw> {
    if KEYWORDS.contains(&key) || key.len() < 5 {
        return Ok(());
    }
    let near = |known: &&&str| {
        strsim::damerau_levenshtein(&key.to_lowercase(), &known.to_lowercase()) <= 1
    };
    match KEYWORDS.iter().find(near) {
        Some(known) => Err(Flaw::new(
            at.path(),
            format!("is not a keyword; did you mean `{known}`?"),
        )),
        None => Ok(()),
    }
}
