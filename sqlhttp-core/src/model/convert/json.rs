//! The values of the crate `serde_json`: written as the TEXT of the JSON document.

use serde_json::Value as Json;

use super::{ConversionError, FromValue, IntoValue, OutOfRange};
use crate::model::{Value, ValueRef};

impl IntoValue for Json {
    fn into_value(self) -> Result<Value, OutOfRange> {
        Ok(Value::Text(self.to_string()))
    }
}

/// TEXT is read as a JSON document. NULL and numbers are read as those of JSON.
impl<'v> FromValue<'v> for Json {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        match value {
            ValueRef::Null => Ok(Json::Null),
            ValueRef::Integer(value) => Ok(Json::from(value)),
            ValueRef::Real(value) => Ok(Json::from(value)),
            ValueRef::Text(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| ConversionError::Form(format!("the text is no JSON document: {error}"))),
            ValueRef::Blob(_) => Err(ConversionError::of_type::<Json>(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_text() {
        let document = serde_json::json!({"a": [1, null, "x"]});
        let Ok(Value::Text(text)) = document.clone().into_value() else { panic!("no text") };
        assert_eq!(text, r#"{"a":[1,null,"x"]}"#);
        assert_eq!(Json::from_value(ValueRef::Text(text.as_bytes())), Ok(document));
        assert_eq!(Json::from_value(ValueRef::Integer(7)), Ok(Json::from(7)));
        assert!(Json::from_value(ValueRef::Text(b"{")).is_err());
        assert!(Json::from_value(ValueRef::Blob(b"{}")).is_err());
    }
}
