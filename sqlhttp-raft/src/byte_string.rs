//! Encodes bytes as one piece, for `#[serde(with = "crate::byte_string")]`. serde's implementations for vectors and
//! slices encode each byte by itself. The encoding is the same.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

pub(crate) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes.as_ref())
}

pub(crate) fn deserialize<'de, D, B>(deserializer: D) -> Result<B, D::Error>
where
    D: Deserializer<'de>,
    B: for<'b> From<&'b [u8]>,
{
    struct Bytes<B>(PhantomData<B>);

    impl<B: for<'b> From<&'b [u8]>> Visitor<'_> for Bytes<B> {
        type Value = B;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<B, E> {
            Ok(B::from(bytes))
        }
    }

    deserializer.deserialize_bytes(Bytes(PhantomData))
}
