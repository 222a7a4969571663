//! The time zone of the modifiers `localtime` and `utc` of SQLite's date and time functions.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _};

/// The time zone to which the modifiers `localtime` and `utc` refer (<https://sqlite.org/lang_datefunc.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeZone {
    /// The time zone of the process. In a database that applies a log it is UTC instead, so that all replicas compute
    /// the same values.
    #[default]
    Process,
    /// Coordinated Universal Time.
    Utc,
    /// A time zone of the IANA time zone database.
    Named(NamedZone),
}

/// A time zone of the IANA time zone database (<https://www.iana.org/time-zones>), which is compiled into the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedZone(chrono_tz::Tz);

/// The error for a name that is not in the IANA time zone database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTimeZone(String);

impl fmt::Display for UnknownTimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown time zone {}", self.0)
    }
}

impl std::error::Error for UnknownTimeZone {}

impl FromStr for NamedZone {
    type Err = UnknownTimeZone;

    fn from_str(name: &str) -> Result<NamedZone, UnknownTimeZone> {
        name.parse().map(NamedZone).map_err(|_| UnknownTimeZone(name.to_owned()))
    }
}

impl FromStr for TimeZone {
    type Err = UnknownTimeZone;

    /// Parses `UTC` or the name of another time zone of the IANA time zone database, for example `Europe/Rome`.
    fn from_str(name: &str) -> Result<TimeZone, UnknownTimeZone> {
        if name == "UTC" { Ok(TimeZone::Utc) } else { name.parse().map(TimeZone::Named) }
    }
}

impl NamedZone {
    /// The name of the time zone.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Converts a time in UTC to the local time; `None` if the result is out of range.
    fn local(self, utc: NaiveDateTime) -> Option<NaiveDateTime> {
        let seconds = self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc();
        utc.checked_add_signed(TimeDelta::seconds(i64::from(seconds)))
    }

    /// Converts a time in UTC to the local time. Returns `None` if the time does not exist or is out of range.
    pub(crate) fn to_local(self, utc: CivilTime) -> Option<CivilTime> {
        let CivilTime { year, month, day, hour, minute, second } = utc;
        let utc = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, minute, second)?;
        let local = self.local(utc)?;
        Some(CivilTime {
            year: local.year(),
            month: local.month(),
            day: local.day(),
            hour: local.hour(),
            minute: local.minute(),
            second: local.second(),
        })
    }
}

/// A date and a time of day, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CivilTime {
    pub(crate) year: i32,
    /// 1 to 12.
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_parsed() {
        assert_eq!("UTC".parse(), Ok(TimeZone::Utc));
        let rome: NamedZone = "Europe/Rome".parse().unwrap();
        assert_eq!(("Europe/Rome".parse(), rome.name()), (Ok(TimeZone::Named(rome)), "Europe/Rome"));
        let error = "Europe/Atlantis".parse::<TimeZone>().unwrap_err();
        assert_eq!(error.to_string(), "unknown time zone Europe/Atlantis");
    }

    #[test]
    fn times_are_converted() {
        let rome: NamedZone = "Europe/Rome".parse().unwrap();
        let time = |month, day, hour| CivilTime { year: 2024, month, day, hour, minute: 30, second: 5 };
        assert_eq!(rome.to_local(time(1, 15, 12)), Some(time(1, 15, 13)));
        assert_eq!(rome.to_local(time(7, 31, 23)), Some(time(8, 1, 1)));
        assert_eq!(rome.to_local(time(2, 30, 12)), None);
    }
}
