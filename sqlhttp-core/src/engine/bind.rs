//! How values find their parameters: [`BindRule`] as code.

use super::session::Prepared;
use super::sqlite::probe;
use crate::model::{BindRule, Binding, Bindings, Failure, Value};

/// Binds values to a statement's parameters.
pub(crate) fn bind(prepared: &mut Prepared, bindings: &Bindings) -> Result<(), Failure> {
    match bindings.rule {
        BindRule::Strict => bind_strict(prepared, &bindings.entries),
        BindRule::Counted => bind_counted(prepared, &bindings.entries),
    }
}

fn bind_strict(prepared: &mut Prepared, entries: &[Binding]) -> Result<(), Failure> {
    for index in 1..=prepared.parameters.len() {
        let value = match prepared.parameters[index - 1].as_deref() {
            Some(name) => match position_in_name(name) {
                Some(position) => by_position(entries, position)?,
                None => by_name(entries, name).ok_or_else(|| Failure::MissingNamed(name[1..].to_owned()))?,
            },
            None => by_position(entries, index)?,
        };
        bind_one(prepared, index, value)?;
    }
    Ok(())
}

fn bind_counted(prepared: &mut Prepared, entries: &[Binding]) -> Result<(), Failure> {
    let want = prepared.parameters.len();
    if entries.len() < want {
        return Err(Failure::NotEnough { want, got: entries.len() });
    }
    let any_named = entries.iter().any(|entry| entry.name.is_some());
    for index in 1..=want {
        let entry = &entries[index - 1];
        let at_place = (!any_named || entry.name.is_none()).then_some(&entry.value);
        let named = match prepared.parameters[index - 1].as_deref() {
            Some(name) if any_named => by_name(entries, name),
            _ => None,
        };
        bind_one(prepared, index, named.or(at_place).unwrap_or(&Value::Null))?;
    }
    Ok(())
}

fn bind_one(prepared: &mut Prepared, index: usize, value: &Value) -> Result<(), Failure> {
    prepared.statement.bind(index, value).map_err(|code| Failure::Sql(probe::error_of_code(code, None)))
}

/// The number in `?NNN` and `$NNN`, which both mean a position.
fn position_in_name(name: &str) -> Option<usize> {
    name.strip_prefix(['?', '$'])?.parse().ok()
}

fn by_position(entries: &[Binding], position: usize) -> Result<&Value, Failure> {
    let entry = position.checked_sub(1).and_then(|i| entries.get(i));
    entry.map(|entry| &entry.value).ok_or(Failure::MissingPositional(position))
}

/// The value for `:name`, `@name` or `$name`; the caller may have named it with or without a prefix. Of several with
/// the same name, the last.
fn by_name<'e>(entries: &'e [Binding], parameter: &str) -> Option<&'e Value> {
    let bare = parameter.get(1..)?;
    let matches = |entry: &&Binding| entry.name.as_deref().is_some_and(|name| name == bare || name == parameter);
    entries.iter().rfind(matches).map(|entry| &entry.value)
}
