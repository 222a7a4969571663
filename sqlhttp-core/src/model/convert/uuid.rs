//! The type of the crate `uuid`: written as a BLOB of 16 bytes, read from such a BLOB or from text.

use uuid::Uuid;

use super::{ConversionError, FromValue, IntoValue, OutOfRange};
use crate::model::{Value, ValueRef};

impl IntoValue for Uuid {
    fn into_value(self) -> Result<Value, OutOfRange> {
        Ok(Value::Blob(self.as_bytes().to_vec()))
    }
}

impl<'v> FromValue<'v> for Uuid {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        let read = match value {
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes),
            ValueRef::Text(bytes) => Uuid::try_parse_ascii(bytes),
            other => return Err(ConversionError::of_type::<Uuid>(other)),
        };
        read.map_err(|error| ConversionError::Form(format!("the value is no UUID: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_and_texts() {
        let uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        let Ok(Value::Blob(bytes)) = uuid.into_value() else { panic!("no BLOB") };
        assert_eq!(Uuid::from_value(ValueRef::Blob(&bytes)), Ok(uuid));
        assert_eq!(Uuid::from_value(ValueRef::Text(uuid.to_string().as_bytes())), Ok(uuid));
        assert!(Uuid::from_value(ValueRef::Blob(&bytes[1..])).is_err());
        assert!(Uuid::from_value(ValueRef::Null).is_err());
    }
}
