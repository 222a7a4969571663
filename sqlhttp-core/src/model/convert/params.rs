//! The values for the parameters of a statement, in the forms in which Rust programs write them.

use super::IntoValue;
use crate::model::{BindRule, Binding, Bindings, Failure, Value};

/// The values for the parameters of a statement (<https://sqlite.org/lang_expr.html#varparam>).
///
/// | form | binds |
/// |---|---|
/// | `()` | nothing, for SQL text without parameters |
/// | `(1, "a")`, a tuple of up to 16 values of different types | by position |
/// | `[1, 2]`, `&[1, 2]`, `vec![1, 2]`: values of one type | by position |
/// | [`params!`](crate::params)`[1, "a"]`, [`params_from_iter`] | by position |
/// | `[("id", 1)]`, `&[("id", 1)]` | by name |
/// | [`named_params!`](crate::named_params)`{":id": 1, ":name": "a"}` | by name |
/// | [`Bindings`], [`ParamList`] | as they say |
///
/// A tuple of one value has a comma: `(1,)`. Every parameter of the SQL text must have a value, and every value must
/// have a parameter ([`BindRule::Exact`]). A byte string is a list of integers here: `(bytes,)` binds it as a BLOB.
pub trait Params {
    /// Converts the values.
    ///
    /// # Errors
    /// [`Failure::BadParameter`] if SQLite has no value for one of them.
    fn into_bindings(self) -> Result<Bindings, Failure>;
}

/// A list of values for the parameters of a statement, to which values of different types are added one by one. The
/// macros [`params!`](crate::params) and [`named_params!`](crate::named_params) create it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamList(Result<Vec<Binding>, Failure>);

impl ParamList {
    /// Creates an empty list.
    pub const fn new() -> ParamList {
        ParamList(Ok(Vec::new()))
    }

    /// Adds a value that binds by position.
    #[must_use]
    pub fn with(self, value: impl IntoValue) -> ParamList {
        self.push(None, value)
    }

    /// Adds a value that binds by name. The prefix `:`, `@` or `$` of the name is optional.
    #[must_use]
    pub fn with_named(self, name: &str, value: impl IntoValue) -> ParamList {
        self.push(Some(name), value)
    }

    fn push(self, name: Option<&str>, value: impl IntoValue) -> ParamList {
        ParamList(self.0.and_then(|mut entries| {
            let value = convert(value, || parameter(name, entries.len()))?;
            entries.push(Binding { name: name.map(Into::into), value });
            Ok(entries)
        }))
    }
}

impl Default for ParamList {
    fn default() -> ParamList {
        ParamList::new()
    }
}

/// The name of a parameter in an error message: its name, or its position counted from 1.
fn parameter(name: Option<&str>, index: usize) -> String {
    name.map_or_else(|| (index + 1).to_string(), str::to_owned)
}

fn convert(value: impl IntoValue, parameter: impl FnOnce() -> String) -> Result<Value, Failure> {
    value.into_value().map_err(|error| Failure::BadParameter { parameter: parameter(), message: error.0 })
}

/// Creates values that bind by position from an iterator.
///
/// ```
/// use sqlhttp_core::{Step, params_from_iter};
///
/// let ids = std::collections::BTreeSet::from([7, 8]);
/// let step = Step::query("SELECT * FROM t WHERE id IN (?, ?)", params_from_iter(&ids));
/// ```
pub fn params_from_iter<T: IntoValue>(values: impl IntoIterator<Item = T>) -> ParamList {
    values.into_iter().fold(ParamList::new(), ParamList::with)
}

impl Params for ParamList {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        self.0.map(|entries| Bindings { entries, rule: BindRule::Exact })
    }
}

impl Params for Bindings {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        Ok(self)
    }
}

impl Params for () {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        Ok(Bindings::none())
    }
}

impl<T: IntoValue, const N: usize> Params for [T; N] {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        params_from_iter(self).into_bindings()
    }
}

impl<T: IntoValue> Params for Vec<T> {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        params_from_iter(self).into_bindings()
    }
}

impl<'a, T> Params for &'a [T]
where
    &'a T: IntoValue,
{
    fn into_bindings(self) -> Result<Bindings, Failure> {
        params_from_iter(self).into_bindings()
    }
}

impl<'a, T> Params for &'a Vec<T>
where
    &'a T: IntoValue,
{
    fn into_bindings(self) -> Result<Bindings, Failure> {
        self.as_slice().into_bindings()
    }
}

impl Params for &ParamList {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        self.clone().into_bindings()
    }
}

impl<'a, T, const N: usize> Params for &'a [T; N]
where
    &'a T: IntoValue,
{
    fn into_bindings(self) -> Result<Bindings, Failure> {
        self.as_slice().into_bindings()
    }
}

fn named<'n, T: IntoValue>(values: impl IntoIterator<Item = (&'n str, T)>) -> Result<Bindings, Failure> {
    values.into_iter().fold(ParamList::new(), |list, (name, value)| list.with_named(name, value)).into_bindings()
}

impl<T: IntoValue, const N: usize> Params for [(&str, T); N] {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        named(self)
    }
}

impl<T: IntoValue> Params for Vec<(&str, T)> {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        named(self)
    }
}

impl<T: IntoValue + Clone> Params for &[(&str, T)] {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        named(self.iter().cloned())
    }
}

impl<T: IntoValue + Clone, const N: usize> Params for &[(&str, T); N] {
    fn into_bindings(self) -> Result<Bindings, Failure> {
        self.as_slice().into_bindings()
    }
}

macro_rules! tuples {
    ($(($($letter:ident $index:tt),+);)*) => {
        $(impl<$($letter: IntoValue),+> Params for ($($letter,)+) {
            fn into_bindings(self) -> Result<Bindings, Failure> {
                ParamList::new()$(.with(self.$index))+.into_bindings()
            }
        })*
    };
}

tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15);
}

/// Creates a list of values of different types that bind by position.
///
/// ```
/// use sqlhttp_core::{Step, params};
///
/// let step = Step::execute("INSERT INTO users VALUES (?, ?, ?)", params!["Ada", 36, Some(1.5)]);
/// ```
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        $crate::ParamList::new()$(.with($value))*
    };
}

/// Creates a list of values of different types that bind by name.
///
/// ```
/// use sqlhttp_core::{Step, named_params};
///
/// let step = Step::execute("INSERT INTO users VALUES (:name, :age)", named_params! { ":name": "Ada", ":age": 36 });
/// ```
#[macro_export]
macro_rules! named_params {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::ParamList::new()$(.with_named($name, $value))*
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(params: impl Params) -> Vec<(Option<String>, Value)> {
        let entries = params.into_bindings().unwrap().entries;
        entries.into_iter().map(|entry| (entry.name.map(String::from), entry.value)).collect()
    }

    #[test]
    fn each_form_gives_the_same_values() {
        let expected = [(None, Value::Integer(7)), (None, Value::Integer(8))];
        assert_eq!(entries([7, 8]), expected);
        let list = &[7, 8];
        assert_eq!(entries(list), expected);
        assert_eq!(entries(list.as_slice()), expected);
        assert_eq!(entries(vec![7, 8]), expected);
        let (list, params) = (&vec![7, 8], &params![7, 8]);
        assert_eq!(entries(list), expected);
        assert_eq!(entries(params), expected);
        assert_eq!(entries((7_i64, 8_u8)), expected);
        assert_eq!(entries(params![7, 8_usize]), expected);
        assert_eq!(entries(params_from_iter([7, 8].iter())), expected);
        assert_eq!(entries(Bindings::positional([7, 8])), expected);
        assert_eq!(entries(()), []);
        assert_eq!(entries(params![]), []);
    }

    #[test]
    fn names_are_kept() {
        let expected = [(Some("a".to_owned()), Value::Integer(7)), (Some(":b".to_owned()), Value::Integer(8))];
        assert_eq!(entries([("a", 7), (":b", 8)]), expected);
        let list = &[("a", 7), (":b", 8)];
        assert_eq!(entries(list), expected);
        assert_eq!(entries(vec![("a", 7), (":b", 8)]), expected);
        assert_eq!(entries(named_params! { "a": 7, ":b": 8_u64 }), expected);
    }

    #[test]
    fn a_value_that_sqlite_does_not_have_names_its_parameter() {
        let failure = (1, u64::MAX).into_bindings().unwrap_err();
        let message = "18446744073709551615 is greater than the largest INTEGER";
        assert_eq!(failure.to_string(), format!("parameter 2: {message}"));
        let failure = [("id", u64::MAX)].into_bindings().unwrap_err();
        assert_eq!(failure.to_string(), format!("parameter id: {message}"));
    }
}
