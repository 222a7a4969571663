//! Binds values to the parameters of a statement, by the rules of [`BindRule`].

use super::session::Prepared;
use super::sqlite::probe;
use crate::model::{BindRule, Binding, Bindings, Failure, Value};

/// Binds values to a statement's parameters. With [`BindRule::Counted`], `used` is the number of values that earlier
/// statements of the same SQL text have used up; this function adds those of this statement.
pub(crate) fn bind(prepared: &mut Prepared, bindings: &Bindings, used: &mut usize) -> Result<(), Failure> {
    match bindings.rule {
        BindRule::Strict => bind_strict(prepared, &bindings.entries),
        BindRule::Counted => {
            let left = bindings.entries.get(*used..).unwrap_or_default();
            *used += prepared.parameters.len();
            bind_counted(prepared, left)
        }
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
    for index in 1..=want {
        let parameter = prepared.parameters[index - 1].as_deref();
        // Later values take precedence: if several entries belong to one parameter, the last one is bound.
        let bound = entries.iter().enumerate().rev().find(|(place, entry)| match &entry.name {
            None => place + 1 == index,
            Some(name) => parameter.is_some_and(|parameter| is_name_of(name, parameter)),
        });
        bind_one(prepared, index, bound.map_or(&Value::Null, |(_, entry)| &entry.value))?;
    }
    Ok(())
}

fn bind_one(prepared: &mut Prepared, index: usize, value: &Value) -> Result<(), Failure> {
    prepared.statement.bind(index, value).map_err(|code| Failure::Sql(probe::error_of_code(code, None)))
}

/// Returns the number `NNN` of a parameter `?NNN` or `$NNN`, which both denote a position. `None` for any other
/// parameter.
fn position_in_name(name: &str) -> Option<usize> {
    name.strip_prefix(['?', '$'])?.parse().ok()
}

fn by_position(entries: &[Binding], position: usize) -> Result<&Value, Failure> {
    let entry = position.checked_sub(1).and_then(|i| entries.get(i));
    entry.map(|entry| &entry.value).ok_or(Failure::MissingPositional(position))
}

/// Returns the value for the parameter `:name`, `@name` or `$name`. If several entries have the name, the last one is
/// returned; `None` if no entry has it.
fn by_name<'e>(entries: &'e [Binding], parameter: &str) -> Option<&'e Value> {
    let matches = |entry: &&Binding| entry.name.as_deref().is_some_and(|name| is_name_of(name, parameter));
    entries.iter().rfind(matches).map(|entry| &entry.value)
}

/// Returns whether `name`, the name of an entry, is the name of this parameter. The prefix (`:`, `@`, `$`) may be
/// present or missing.
fn is_name_of(name: &str, parameter: &str) -> bool {
    name == parameter || Some(name) == parameter.get(1..)
}
