//! Reads rows into types that implement [`serde::Deserialize`].

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::{FromRow, Row, RowError};
use crate::model::{Columns, ValueRef};

/// A type that implements [`serde::Deserialize`], read from a row. Structs and maps take the values by the names of the
/// columns, tuples and sequences in their order, other types take the first column. An enum without fields is read from
/// TEXT.
///
/// ```
/// use sqlhttp_core::{Database, Deserialized, Options};
///
/// #[derive(serde::Deserialize)]
/// struct User { id: u64, name: String, email: Option<String> }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Database::open(":memory:", Options::default())?;
/// let sql = "SELECT 7 AS id, 'Ada' AS name, NULL AS email";
/// let Deserialized(user) = db.blocking().query_one::<Deserialized<User>>(sql, ())?;
/// assert_eq!((user.id, user.name, user.email), (7, "Ada".to_owned(), None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deserialized<T>(pub T);

impl<T: DeserializeOwned> FromRow for Deserialized<T> {
    fn from_row(row: &Row<'_>) -> Result<Self, RowError> {
        row.deserialize().map(Deserialized)
    }
}

impl<'r> Row<'r> {
    /// Reads the row into a type that implements [`serde::Deserialize`]: see [`Deserialized`]. The type may borrow
    /// text and BLOBs from the result.
    ///
    /// # Errors
    /// [`RowError::Form`]: the row does not have the form that the type needs.
    pub fn deserialize<T: Deserialize<'r>>(&self) -> Result<T, RowError> {
        T::deserialize(RowDeserializer(self))
    }
}

impl serde::de::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        RowError::Form(message.to_string())
    }
}

struct RowDeserializer<'d, 'r>(&'d Row<'r>);

impl<'r> RowDeserializer<'_, 'r> {
    fn first(&self) -> Result<ValueDeserializer<'r>, RowError> {
        let value = self.0.value(0);
        value.map(ValueDeserializer).ok_or_else(|| RowError::NoColumn { column: "0".to_owned() })
    }

    fn cells(&self) -> Cells<'_, 'r> {
        Cells { columns: self.0.columns(), values: self.0.values(), next: 0 }
    }
}

/// The methods for a value that is not a struct, a map or a sequence: the value of the first column.
macro_rules! from_first_column {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, RowError> {
            self.first()?.$method(visitor)
        })*
    };
}

impl<'r> Deserializer<'r> for RowDeserializer<'_, 'r> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self.cells())
    }

    fn deserialize_struct<V: Visitor<'r>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_seq(self.cells())
    }

    fn deserialize_tuple<V: Visitor<'r>>(self, _len: usize, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'r>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'r>>(self, _name: &'static str, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'r>>(self, _name: &'static str, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'r>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.first()?.deserialize_enum(name, variants, visitor)
    }

    from_first_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_identifier
    }

    fn deserialize_ignored_any<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }
}

/// The values of a row, by name or in their order.
struct Cells<'d, 'r> {
    columns: &'d Columns,
    values: &'d [ValueRef<'r>],
    /// The index of the next value.
    next: usize,
}

impl<'r> Cells<'_, 'r> {
    fn read<T: DeserializeSeed<'r>>(&mut self, seed: T) -> Result<T::Value, RowError> {
        let index = self.next;
        self.next += 1;
        let value = self.values.get(index).copied().unwrap_or(ValueRef::Null);
        seed.deserialize(ValueDeserializer(value)).map_err(|error| match self.columns.get(index) {
            Some(column) => RowError::Form(format!("column {}: {error}", column.name)),
            None => error,
        })
    }
}

impl<'r> MapAccess<'r> for Cells<'_, 'r> {
    type Error = RowError;

    fn next_key_seed<K: DeserializeSeed<'r>>(&mut self, seed: K) -> Result<Option<K::Value>, RowError> {
        if self.next >= self.values.len() {
            return Ok(None);
        }
        let Some(column) = self.columns.get(self.next) else { return Ok(None) };
        let name: StrDeserializer<'_, RowError> = column.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'r>>(&mut self, seed: T) -> Result<T::Value, RowError> {
        self.read(seed)
    }
}

impl<'r> SeqAccess<'r> for Cells<'_, 'r> {
    type Error = RowError;

    fn next_element_seed<T: DeserializeSeed<'r>>(&mut self, seed: T) -> Result<Option<T::Value>, RowError> {
        if self.next < self.values.len() { self.read(seed).map(Some) } else { Ok(None) }
    }
}

struct ValueDeserializer<'r>(ValueRef<'r>);

impl<'de> Deserializer<'de> for ValueDeserializer<'de> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            ValueRef::Null => visitor.visit_unit(),
            ValueRef::Integer(value) => visitor.visit_i64(value),
            ValueRef::Real(value) => visitor.visit_f64(value),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => Err(RowError::custom("the text is not valid UTF-8")),
            },
            ValueRef::Blob(bytes) => visitor.visit_borrowed_bytes(bytes),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            ValueRef::Integer(value) => visitor.visit_bool(value != 0),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            ValueRef::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    /// A BLOB can be read as a sequence of bytes, such as `Vec<u8>`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            ValueRef::Blob(bytes) => visitor.visit_seq(serde::de::value::SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        match self.0 {
            ValueRef::Text(_) => {
                let text: &str = super::FromValue::from_value(self.0).map_err(RowError::custom)?;
                let variant: BorrowedStrDeserializer<'_, RowError> = BorrowedStrDeserializer::new(text);
                variant.deserialize_enum(name, variants, visitor)
            }
            other => Err(RowError::custom(format_args!("{} is no name of a variant", other.storage_class()))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple_struct map
        struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::model::{Block, Changed, Column, Rows};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Item<'r> {
        id: u8,
        name: &'r str,
        color: Color,
        weight: Option<f64>,
        sold: bool,
        picture: Vec<u8>,
    }

    fn one_row(names: &[&str], values: &[ValueRef<'_>]) -> Rows {
        let columns = names.iter().map(|name| Column { name: (*name).to_owned(), ..Column::default() }).collect();
        let mut block = Block::new(names.len());
        block.push_row(values.iter().copied());
        Rows { columns, blocks: vec![block], changed: Changed::default() }
    }

    #[test]
    fn a_struct_takes_values_by_name() {
        let values = [
            ValueRef::Blob(&[1, 2]),
            ValueRef::Integer(1),
            ValueRef::Null,
            ValueRef::Text(b"red"),
            ValueRef::Text(b"Ball"),
            ValueRef::Integer(7),
        ];
        let rows = one_row(&["picture", "sold", "weight", "color", "name", "id"], &values);
        let row = rows.rows().next().unwrap();
        let item: Item<'_> = row.deserialize().unwrap();
        let expected = Item { id: 7, name: "Ball", color: Color::Red, weight: None, sold: true, picture: vec![1, 2] };
        assert_eq!(item, expected);
    }

    #[test]
    fn tuples_and_single_values() {
        let rows = one_row(&["a", "b"], &[ValueRef::Integer(300), ValueRef::Text(b"x")]);
        let row = rows.rows().next().unwrap();
        assert_eq!(row.deserialize::<(i64, String)>().unwrap(), (300, "x".to_owned()));
        assert_eq!(row.deserialize::<i64>().unwrap(), 300);
        let error = row.deserialize::<(u8, String)>().unwrap_err();
        assert_eq!(error.to_string(), "column a: invalid value: integer `300`, expected u8");
        let map = row.deserialize::<std::collections::BTreeMap<String, serde_json::Value>>().unwrap();
        assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"a":300,"b":"x"}"#);
    }
}
