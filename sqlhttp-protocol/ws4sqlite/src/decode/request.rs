//! The serde visitors of a request and of its items. An item is a query or statement of a request.
//!
//! Keys are compared ignoring case. If a key occurs several times, the last one counts. A member whose value is `null`
//! counts as missing.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::values::{Numbers, ValuesSeed};
use crate::call::{Call, Credentials, Extras, Item, Nested, Sql, Values};

/// Implements `DeserializeSeed` for a type that is both the seed and its visitor.
macro_rules! seed {
    ($seed:ident => $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $seed {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

/// The visitor of an object key. Looks the key up in a table; returns `None` if the table does not contain the key.
struct KeySeed<K: 'static>(&'static [(&'static str, K)]);

impl<'de, K: Copy> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Option<K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<K>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<K: Copy> Visitor<'_> for KeySeed<K> {
    type Value = Option<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<K>, E> {
        // Most clients write the keys in the same case as the table. So this comparison is tried first.
        let exact = self.0.iter().find(|(name, _)| *name == key);
        let found = exact.or_else(|| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)));
        Ok(found.map(|(_, key)| *key))
    }
}

/// The visitor of a whole request.
#[derive(Clone, Copy)]
pub(super) struct RequestSeed(pub(super) Numbers);

seed!(RequestSeed => Call);

#[derive(Clone, Copy)]
enum RequestKey {
    ResultFormat,
    Credentials,
    Transaction,
}

const REQUEST_KEYS: &[(&str, RequestKey)] = &[
    ("transaction", RequestKey::Transaction),
    ("resultFormat", RequestKey::ResultFormat),
    ("credentials", RequestKey::Credentials),
];

impl<'de> Visitor<'de> for RequestSeed {
    type Value = Call;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request (an object)")
    }

    fn visit_unit<E>(self) -> Result<Call, E> {
        Ok(Call { credentials: None, list: false, items: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Call, A::Error> {
        let mut call = Call { credentials: None, list: false, items: Vec::new() };
        while let Some(key) = map.next_key_seed(KeySeed(REQUEST_KEYS))? {
            match key {
                Some(RequestKey::ResultFormat) => {
                    if let Some(format) = map.next_value::<Option<String>>()? {
                        call.list = is_list(&format);
                    }
                }
                Some(RequestKey::Credentials) => call.credentials = map.next_value_seed(CredentialsSeed)?,
                Some(RequestKey::Transaction) => call.items = map.next_value_seed(TransactionSeed(self.0))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(call)
    }
}

/// Returns whether `resultFormat` selects arrays as rows. Any other name than `list` selects objects.
pub(super) fn is_list(format: &str) -> bool {
    format.eq_ignore_ascii_case("list")
}

struct CredentialsSeed;

seed!(CredentialsSeed => Option<Credentials>);

#[derive(Clone, Copy)]
enum CredentialsKey {
    User,
    Password,
}

const CREDENTIALS_KEYS: &[(&str, CredentialsKey)] =
    &[("user", CredentialsKey::User), ("password", CredentialsKey::Password)];

impl<'de> Visitor<'de> for CredentialsSeed {
    type Value = Option<Credentials>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with user and password")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    // This method exists because serde's default error message contains the value, which may be a password.
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("credentials should be an object with user and password, not a string"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut credentials = Credentials::default();
        while let Some(key) = map.next_key_seed(KeySeed(CREDENTIALS_KEYS))? {
            let field = match key {
                Some(CredentialsKey::User) => &mut credentials.user,
                Some(CredentialsKey::Password) => &mut credentials.password,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let secret = map.next_value::<Option<String>>();
            let secret = secret.map_err(|_| A::Error::custom("user and password should be strings"))?;
            *field = secret.unwrap_or_else(|| std::mem::take(field));
        }
        Ok(Some(credentials))
    }
}

/// The visitor of the JSON member `transaction`: an array of items, or one item.
struct TransactionSeed(Numbers);

seed!(TransactionSeed => Vec<Item>);

impl<'de> Visitor<'de> for TransactionSeed {
    type Value = Vec<Item>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_unit<E>(self) -> Result<Vec<Item>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Item>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(ItemSeed(self.0))? {
            items.push(item);
        }
        Ok(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Item>, A::Error> {
        Ok(vec![ItemSeed(self.0).visit_map(map)?])
    }
}

struct ItemSeed(Numbers);

seed!(ItemSeed => Item);

#[derive(Clone, Copy)]
enum ItemKey {
    Query,
    Statement,
    Extra(ExtraKey),
}

#[derive(Clone, Copy)]
enum ExtraKey {
    NoFail,
    Values,
    ValuesBatch,
    Encryption,
}

const ITEM_KEYS: &[(&str, ItemKey)] = &[
    ("query", ItemKey::Query),
    ("statement", ItemKey::Statement),
    ("values", ItemKey::Extra(ExtraKey::Values)),
    ("noFail", ItemKey::Extra(ExtraKey::NoFail)),
    ("valuesBatch", ItemKey::Extra(ExtraKey::ValuesBatch)),
    ("encoder", ItemKey::Extra(ExtraKey::Encryption)),
    ("decoder", ItemKey::Extra(ExtraKey::Encryption)),
];

impl<'de> Visitor<'de> for ItemSeed {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item (an object)")
    }

    fn visit_unit<E>(self) -> Result<Item, E> {
        Ok(Item::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut item = Item::default();
        while let Some(key) = map.next_key_seed(KeySeed(ITEM_KEYS))? {
            match key {
                Some(ItemKey::Query) => item.query = map.next_value_seed(SqlSeed(self.0))?.or(item.query),
                Some(ItemKey::Statement) => item.statement = map.next_value_seed(SqlSeed(self.0))?.or(item.statement),
                Some(ItemKey::Extra(key)) => item.extras.read(key, &mut map, self.0)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(item)
    }
}

impl Extras {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: ExtraKey, map: &mut A, numbers: Numbers) -> Result<(), A::Error> {
        match key {
            ExtraKey::NoFail => self.no_fail = map.next_value::<Option<bool>>()?.unwrap_or(self.no_fail),
            ExtraKey::Values => self.values = map.next_value_seed(ValuesSeed(numbers))?,
            ExtraKey::ValuesBatch => self.values_batch = map.next_value_seed(ValuesBatchSeed(numbers))?,
            ExtraKey::Encryption => self.encrypted |= map.next_value::<Option<IgnoredAny>>()?.is_some(),
        }
        Ok(())
    }
}

/// The visitor of the JSON member `query` or `statement`. Returns `None` for `null`.
struct SqlSeed(Numbers);

seed!(SqlSeed => Option<Sql>);

impl<'de> Visitor<'de> for SqlSeed {
    type Value = Option<Sql>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SQL (a string)")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Sql::Text(text.into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut nested = Nested::default();
        while let Some(key) = map.next_key_seed(KeySeed(NESTED_KEYS))? {
            match key {
                Some(NestedKey::Text) => nested.text = map.next_value::<Option<Text>>()?.map(|t| t.0).or(nested.text),
                Some(NestedKey::Extra(key)) => nested.extras.read(key, &mut map, self.0)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(Sql::Object(Box::new(nested))))
    }
}

#[derive(Clone, Copy)]
enum NestedKey {
    Text,
    Extra(ExtraKey),
}

const NESTED_KEYS: &[(&str, NestedKey)] = &[
    ("statement", NestedKey::Text),
    ("query", NestedKey::Text),
    ("sql", NestedKey::Text),
    ("values", NestedKey::Extra(ExtraKey::Values)),
    ("noFail", NestedKey::Extra(ExtraKey::NoFail)),
    ("valuesBatch", NestedKey::Extra(ExtraKey::ValuesBatch)),
    ("encoder", NestedKey::Extra(ExtraKey::Encryption)),
    ("decoder", NestedKey::Extra(ExtraKey::Encryption)),
];

/// A string that is deserialized as an `Arc<str>`.
struct Text(Arc<str>);

impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Text(text.into()))
    }
}

/// The visitor of the JSON member `valuesBatch`. An element that is `null` is an empty set of values.
struct ValuesBatchSeed(Numbers);

seed!(ValuesBatchSeed => Vec<Values>);

impl<'de> Visitor<'de> for ValuesBatchSeed {
    type Value = Vec<Values>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_unit<E>(self) -> Result<Vec<Values>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Values>, A::Error> {
        let mut batch = Vec::new();
        while let Some(values) = seq.next_element_seed(ValuesSeed(self.0))? {
            batch.push(values.unwrap_or_else(|| Ok(Default::default())));
        }
        Ok(batch)
    }
}
