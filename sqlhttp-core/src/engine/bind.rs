//! Binds values to the parameters of a statement, by the rules of [`BindRule`].

use super::session::Prepared;
use super::sqlite::probe;
use crate::model::{BindRule, Binding, Bindings, Failure, Value};

/// The values of an SQL text that its statements have used.
pub(crate) struct UsedValues {
    /// With [`BindRule::Counted`], the number of values that the statements have used up.
    counted: usize,
    /// With [`BindRule::Exact`], whether a statement has a parameter for each value. Empty with other rules.
    exact: Vec<bool>,
}

impl UsedValues {
    pub(crate) fn of(bindings: &Bindings) -> UsedValues {
        let exact = if bindings.rule == BindRule::Exact { vec![false; bindings.entries.len()] } else { Vec::new() };
        UsedValues { counted: 0, exact }
    }

    /// Checks that each value was used, as [`BindRule::Exact`] demands.
    pub(crate) fn check(&self, bindings: &Bindings) -> Result<(), Failure> {
        let Some(surplus) = self.exact.iter().position(|used| !used) else { return Ok(()) };
        let name = bindings.entries.get(surplus).and_then(|entry| entry.name.as_deref());
        Err(Failure::SurplusValue(name.map_or_else(|| (surplus + 1).to_string(), str::to_owned)))
    }

    fn note(&mut self, entry: usize) {
        if let Some(used) = self.exact.get_mut(entry) {
            *used = true;
        }
    }
}

/// Binds values to a statement's parameters, and adds them to the `used` ones of the SQL text.
pub(crate) fn bind(prepared: &mut Prepared, bindings: &Bindings, used: &mut UsedValues) -> Result<(), Failure> {
    match bindings.rule {
        BindRule::Strict | BindRule::Exact => bind_strict(prepared, &bindings.entries, used),
        BindRule::Counted => {
            let left = bindings.entries.get(used.counted..).unwrap_or_default();
            used.counted += prepared.parameters.len();
            bind_counted(prepared, left)
        }
    }
}

fn bind_strict(prepared: &mut Prepared, entries: &[Binding], used: &mut UsedValues) -> Result<(), Failure> {
    for index in 1..=prepared.parameters.len() {
        let entry = match prepared.parameters[index - 1].as_deref() {
            Some(name) => match position_in_name(name) {
                Some(position) => by_position(entries, position)?,
                None => by_name(entries, name).ok_or_else(|| Failure::MissingNamed(name[1..].to_owned()))?,
            },
            None => by_position(entries, index)?,
        };
        used.note(entry);
        bind_one(prepared, index, &entries[entry].value)?;
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

fn by_position(entries: &[Binding], position: usize) -> Result<usize, Failure> {
    position.checked_sub(1).filter(|index| *index < entries.len()).ok_or(Failure::MissingPositional(position))
}

/// Returns the index of the value for the parameter `:name`, `@name` or `$name`. If several entries have the name, it
/// is that of the last one; `None` if no entry has it.
fn by_name(entries: &[Binding], parameter: &str) -> Option<usize> {
    entries.iter().rposition(|entry| entry.name.as_deref().is_some_and(|name| is_name_of(name, parameter)))
}

/// Returns whether `name`, the name of an entry, is the name of this parameter. The prefix (`:`, `@`, `$`) may be
/// present or missing.
fn is_name_of(name: &str, parameter: &str) -> bool {
    name == parameter || Some(name) == parameter.get(1..)
}
