//! Cron expressions in the dialect of robfig/cron v3, the scheduler of ws4sqlite. The times are computed with the
//! crate `cron`.
//!
//! The dialect of the crate `cron`, to which the project is pinned, differs from that of robfig/cron. This module
//! translates between the two. (The crate `croner` supports five fields directly.) The differences are:
//!
//! | | robfig/cron | crate `cron` |
//! |---|---|---|
//! | fields | 5 | 7, with seconds and years |
//! | Sunday | 0 | 1 |
//! | day of month and day of week both restricted | a day matches if either field does | a day matches if both do |
//!
//! An expression is parsed into the numbers that each field allows, with robfig/cron's error messages. The numbers are
//! then written in the crate's dialect: as one schedule, or as two schedules if both day fields are restricted. With
//! two schedules, the earlier one of their next times applies.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Local, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use sqlhttp_text::duration;

use super::describe;

/// The times at which a job runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    timing: Timing,
    zone: Zone,
    /// The five fields of the expression, or a descriptor such as `@daily`, without the time zone.
    text: String,
}

#[derive(Debug, Clone)]
enum Timing {
    /// The job runs at the times of each of these schedules.
    Cron(Vec<cron::Schedule>),
    /// The job runs at a fixed delay after the time at which its previous run was due, or after the start.
    Every(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    Local,
    Named(Tz),
}

/// The range of numbers that a field may contain, and the names of the numbers, starting with the name of `min`.
struct FieldRange {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: FieldRange = FieldRange { min: 0, max: 59, names: &[] };
const HOURS: FieldRange = FieldRange { min: 0, max: 23, names: &[] };
const DAYS: FieldRange = FieldRange { min: 1, max: 31, names: &[] };
const MONTHS: FieldRange = FieldRange {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: FieldRange = FieldRange { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The numbers that a field of an expression allows.
struct FieldNumbers {
    numbers: Vec<u32>,
    /// Whether the field is `*` or `?`. A day must match both day fields if one of them is unrestricted; otherwise it
    /// must match at least one of them.
    unrestricted: bool,
}

impl Schedule {
    /// Parses an expression: five fields, or a descriptor such as `@daily`. A time zone may precede it, as `TZ=` or
    /// `CRON_TZ=`.
    ///
    /// # Errors
    /// The error message of robfig/cron.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (zone, rest) = split_zone(text)?;
        let timing = if rest.starts_with('@') { parse_descriptor(rest)? } else { parse_fields(rest)? };
        Ok(Schedule { timing, zone, text: rest.trim().to_owned() })
    }

    /// Returns a schedule with a fixed delay between two times. The delay is rounded down to whole seconds, and is at
    /// least one second.
    pub fn every(delay: Duration) -> Self {
        let delay = Duration::from_secs(delay.as_secs().max(1));
        Schedule { timing: Timing::Every(delay), zone: Zone::Local, text: format!("@every {}s", delay.as_secs()) }
    }

    /// Returns the next time of the schedule after `now`; `None` if there is none (for example, for 30 February).
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let schedules = match &self.timing {
            Timing::Every(delay) => return next_every(*delay, now),
            Timing::Cron(schedules) => schedules,
        };
        let next = |schedule: &cron::Schedule| match self.zone {
            Zone::Local => next_in(schedule, &Local, now),
            Zone::Named(zone) => next_in(schedule, &zone, now),
        };
        schedules.iter().filter_map(next).min()
    }

    /// Returns a description of the schedule in English, or the expression itself if there is no clear description.
    pub fn describe(&self) -> String {
        let expression =
            DESCRIPTORS.iter().find(|(name, _)| *name == self.text).map_or(&*self.text, |(_, fields)| fields);
        let described = match expression.strip_prefix("@every") {
            Some(delay) => format!("every {}", delay.trim()),
            None => describe::describe(expression).unwrap_or_else(|| self.text.clone()),
        };
        match self.zone {
            Zone::Local => described,
            Zone::Named(zone) => format!("{described} ({})", zone.name()),
        }
    }
}

fn next_every(delay: Duration, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    now.with_nanosecond(0)?.checked_add_signed(TimeDelta::from_std(delay).ok()?)
}

fn next_in<Z: TimeZone>(schedule: &cron::Schedule, zone: &Z, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    schedule.after(&now.with_timezone(zone)).next().map(|next| next.with_timezone(&Utc))
}

fn split_zone(text: &str) -> Result<(Zone, &str), String> {
    let Some(named) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((Zone::Local, text));
    };
    let (name, rest) = named.split_once(' ').unwrap_or((named, ""));
    let zone = match name {
        "Local" => Zone::Local,
        "" => Zone::Named(Tz::UTC),
        _ => Zone::Named(
            Tz::from_str(name).map_err(|_| format!("provided bad location {name}: unknown time zone {name}"))?,
        ),
    };
    Ok((zone, rest.trim()))
}

fn parse_descriptor(text: &str) -> Result<Timing, String> {
    if let Some((_, expansion)) = DESCRIPTORS.iter().find(|(name, _)| *name == text) {
        return parse_fields(expansion);
    }
    let delay = text.strip_prefix("@every ").ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
    let delay = duration::parse(delay).map_err(|why| format!("failed to parse duration {text}: {why}"))?;
    Ok(Schedule::every(delay).timing)
}

fn parse_fields(text: &str) -> Result<Timing, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = words[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", words.len(), words.join(" ")));
    };
    let minutes = parse_field(minute, &MINUTES)?.list(0);
    let hours = parse_field(hour, &HOURS)?.list(0);
    let days = parse_field(day, &DAYS)?;
    let months = parse_field(month, &MONTHS)?.list(0);
    let weekdays = parse_field(weekday, &WEEKDAYS)?;
    let schedule = |days: &str, weekdays: &str| {
        let expression = format!("0 {minutes} {hours} {days} {months} {weekdays} *");
        cron::Schedule::from_str(&expression).map_err(|why| format!("failed to understand '{text}': {why}"))
    };
    let (day_list, weekday_list) = (days.list(0), weekdays.list(1));
    let either = !days.unrestricted && !weekdays.unrestricted;
    Ok(Timing::Cron(if either {
        vec![schedule(&day_list, "*")?, schedule("*", &weekday_list)?]
    } else {
        vec![schedule(&day_list, &weekday_list)?]
    }))
}

impl FieldNumbers {
    /// Returns the numbers, with `offset` added to each, as a list in the dialect of the crate `cron`.
    fn list(&self, offset: u32) -> String {
        let numbers: Vec<String> = self.numbers.iter().map(|number| (number + offset).to_string()).collect();
        numbers.join(",")
    }
}

fn parse_field(text: &str, range: &FieldRange) -> Result<FieldNumbers, String> {
    let mut field = FieldNumbers { numbers: Vec::new(), unrestricted: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (numbers, unrestricted) = parse_part(part, range)?;
        field.numbers.extend(numbers);
        field.unrestricted |= unrestricted;
    }
    if field.numbers.is_empty() {
        return Err(format!("field without a value: {text}"));
    }
    field.numbers.sort_unstable();
    field.numbers.dedup();
    Ok(field)
}

/// Parses one part of a comma-separated field: `*`, `n` or `a-b`, optionally followed by `/step`. Returns the numbers
/// that it allows, and whether it is `*` or `?` with a step of 1.
fn parse_part(part: &str, range: &FieldRange) -> Result<(impl Iterator<Item = u32> + use<>, bool), String> {
    let pieces: Vec<&str> = part.split('/').collect();
    let ends: Vec<&str> = pieces[0].split('-').collect();
    let star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        _ if star => (range.min, range.max),
        [one] => (parse_number_or_name(one, range)?, parse_number_or_name(one, range)?),
        [low, high] => (parse_number_or_name(low, range)?, parse_number_or_name(high, range)?),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    let step = match pieces[..] {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = range.max;
            }
            parse_number(step)?
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    check_range(start, end, step, range, part)?;
    Ok(((start..=end).step_by(step as usize), star && step == 1))
}

fn check_range(start: u32, end: u32, step: u32, range: &FieldRange, part: &str) -> Result<(), String> {
    if start < range.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {part}", range.min));
    }
    if end > range.max {
        return Err(format!("end of range ({end}) above maximum ({}): {part}", range.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn parse_number_or_name(text: &str, range: &FieldRange) -> Result<u32, String> {
    let folded = text.to_ascii_lowercase();
    match (range.min..).zip(range.names).find(|(_, name)| **name == folded) {
        Some((number, _)) => Ok(number),
        None => parse_number(text),
    }
}

fn parse_number(text: &str) -> Result<u32, String> {
    let failed = |why| format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": {why}");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(failed("invalid syntax"));
    }
    let number: i64 = text.parse().map_err(|_| failed("value out of range"))?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    u32::try_from(number).map_err(|_| failed("value out of range"))
}

#[cfg(test)]
mod tests;
