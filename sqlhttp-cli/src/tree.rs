//! Writes a JSON object as an indented tree.

use std::io::{self, Write};

use serde_json::Value;

/// A JSON object.
pub(crate) type Object = serde_json::Map<String, Value>;

/// Writes `key: value` lines, with the keys in alphabetical order. Null values are left out.
pub(crate) fn write(out: &mut dyn Write, object: &Object) -> io::Result<()> {
    write_at(out, object, 0)
}

fn write_at(out: &mut dyn Write, object: &Object, depth: usize) -> io::Result<()> {
    let mut fields: Vec<_> = object.iter().filter(|(_, value)| !value.is_null()).collect();
    fields.sort_by_key(|(name, _)| *name);
    let indent = 2 * depth;
    for (name, value) in fields {
        match value {
            Value::Object(inner) => {
                writeln!(out, "{:indent$}{name}:", "")?;
                write_at(out, inner, depth + 1)?;
            }
            value => writeln!(out, "{:indent$}{name}: {}", "", text(value))?,
        }
    }
    Ok(())
}

/// Returns a value without quotes. The elements of an array are separated by spaces: `[a b]`.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(" ")),
        value => value.to_string(),
    }
}

/// A step of a query plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanStep {
    pub(crate) id: i64,
    /// The id of the step that contains this one; 0 for none.
    pub(crate) parent: i64,
    pub(crate) detail: String,
}

/// Writes a query plan as a tree, like SQLite's shell.
pub(crate) fn write_plan(out: &mut dyn Write, steps: &[PlanStep]) -> io::Result<()> {
    writeln!(out, "QUERY PLAN")?;
    write_plan_below(out, steps, 0, "")
}

/// Writes the steps that a step contains. SQLite lists a step before the steps that it contains.
fn write_plan_below(out: &mut dyn Write, steps: &[PlanStep], parent: i64, indent: &str) -> io::Result<()> {
    let children: Vec<(usize, &PlanStep)> =
        steps.iter().enumerate().filter(|(_, step)| step.parent == parent).collect();
    for (number, (index, step)) in children.iter().enumerate() {
        let last = number + 1 == children.len();
        writeln!(out, "{indent}{}{}", if last { "`--" } else { "|--" }, step.detail)?;
        let below = format!("{indent}{}", if last { "   " } else { "|  " });
        write_plan_below(out, &steps[index + 1..], step.id, &below)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_tree() {
        let step = |id, parent, detail: &str| PlanStep { id, parent, detail: detail.to_owned() };
        let steps = [step(3, 0, "a"), step(5, 3, "b"), step(9, 5, "c"), step(11, 3, "d"), step(20, 0, "e")];
        let mut out = Vec::new();
        write_plan(&mut out, &steps).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "QUERY PLAN\n|--a\n|  |--b\n|  |  `--c\n|  `--d\n`--e\n");
    }

    #[test]
    fn objects_are_indented_and_sorted() {
        let value = serde_json::json!({"b": {"d": [1, "x"], "c": null, "a": true}, "a": "text", "z": 1048576});
        let mut out = Vec::new();
        write(&mut out, value.as_object().unwrap()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a: text\nb:\n  a: true\n  d: [1 x]\nz: 1048576\n");
    }
}
