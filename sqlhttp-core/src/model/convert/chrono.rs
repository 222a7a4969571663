//! The dates and times of the crate `chrono`, in the text forms that SQLite's date and time functions read
//! (<https://sqlite.org/lang_datefunc.html>).

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

use super::{ConversionError, FromValue, IntoValue, OutOfRange};
use crate::model::{Value, ValueRef};

const DATE: &str = "%Y-%m-%d";
const TIME: &str = "%H:%M:%S%.f";

macro_rules! naive {
    ($($type:ty: $write:literal, [$($read:literal),+];)*) => {
        $(impl IntoValue for $type {
            fn into_value(self) -> Result<Value, OutOfRange> {
                Ok(Value::Text(self.format($write).to_string()))
            }
        }

        impl<'v> FromValue<'v> for $type {
            fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
                let text = <&str>::from_value(value).map_err(|_| ConversionError::of_type::<$type>(value))?;
                let read = [$($read),+].into_iter().find_map(|form| <$type>::parse_from_str(text, form).ok());
                read.ok_or_else(|| not(text, stringify!($type)))
            }
        })*
    };
}

naive! {
    NaiveDate: "%Y-%m-%d", ["%Y-%m-%d"];
    NaiveTime: "%H:%M:%S%.f", ["%H:%M:%S%.f", "%H:%M"];
    NaiveDateTime: "%Y-%m-%d %H:%M:%S%.f", ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
}

fn not(text: &str, what: &str) -> ConversionError {
    ConversionError::Form(format!("'{text}' is no {what}"))
}

/// A time is written in UTC ("2026-11-30 14:05:00+00:00"), so that the order of the texts is that of the times.
impl<Z: TimeZone> IntoValue for DateTime<Z> {
    fn into_value(self) -> Result<Value, OutOfRange> {
        Ok(Value::Text(self.to_utc().format(&format!("{DATE} {TIME}%:z")).to_string()))
    }
}

impl<'v> FromValue<'v> for DateTime<FixedOffset> {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        let text = <&str>::from_value(value).map_err(|_| ConversionError::of_type::<Self>(value))?;
        let form = format!("{DATE} {TIME}%#z");
        DateTime::parse_from_rfc3339(text)
            .or_else(|_| DateTime::parse_from_str(text, &form))
            .map_err(|_| not(text, "time with an offset"))
    }
}

/// A text without an offset is a time in UTC, as for SQLite's functions. An INTEGER is a number of seconds since 1970.
impl<'v> FromValue<'v> for DateTime<Utc> {
    fn from_value(value: ValueRef<'v>) -> Result<Self, ConversionError> {
        if let ValueRef::Integer(seconds) = value {
            let range = ConversionError::Range { wanted: "DateTime<Utc>", value: seconds };
            return DateTime::from_timestamp(seconds, 0).ok_or(range);
        }
        match DateTime::<FixedOffset>::from_value(value) {
            Ok(time) => Ok(time.to_utc()),
            Err(_) => NaiveDateTime::from_value(value).map(|time| time.and_utc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: IntoValue + Clone + for<'v> FromValue<'v> + PartialEq + std::fmt::Debug>(
        value: T,
        text: &str,
    ) {
        let Ok(Value::Text(written)) = value.clone().into_value() else { panic!("no text") };
        assert_eq!(written, text);
        assert_eq!(T::from_value(ValueRef::Text(text.as_bytes())), Ok(value));
    }

    #[test]
    fn dates_and_times_have_sqlites_forms() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        let time = date.and_hms_milli_opt(14, 5, 0, 250).unwrap();
        there_and_back(date, "2026-11-30");
        there_and_back(time.time(), "14:05:00.250");
        there_and_back(time, "2026-11-30 14:05:00.250");
        there_and_back(time.and_utc(), "2026-11-30 14:05:00.250+00:00");
        let elsewhere = time.and_utc().with_timezone(&FixedOffset::east_opt(3600).unwrap());
        there_and_back(elsewhere, "2026-11-30 14:05:00.250+00:00");
        let read = DateTime::<FixedOffset>::from_value(ValueRef::Text(b"2026-11-30 15:05:00.250+01:00"));
        assert_eq!(read, Ok(elsewhere));
    }

    #[test]
    fn times_in_utc_are_read_from_other_forms() {
        let time = |value| DateTime::<Utc>::from_value(value).unwrap().to_rfc3339();
        assert_eq!(time(ValueRef::Text(b"2026-11-30 14:05:00")), "2026-11-30T14:05:00+00:00");
        assert_eq!(time(ValueRef::Text(b"2026-11-30T14:05:00Z")), "2026-11-30T14:05:00+00:00");
        assert_eq!(time(ValueRef::Integer(0)), "1970-01-01T00:00:00+00:00");
        let error = DateTime::<Utc>::from_value(ValueRef::Text(b"tomorrow")).unwrap_err();
        assert_eq!(error.to_string(), "'tomorrow' is no NaiveDateTime");
        assert!(DateTime::<Utc>::from_value(ValueRef::Integer(i64::MAX)).is_err());
        assert!(NaiveDate::from_value(ValueRef::Null).is_err());
    }
}
