//! Describes a cron expression in English, for the line `Task 0 scheduled ...` that is printed at start.
//!
//! Users of ws4sqlite know this line and check their schedules with it. Therefore the wording is that of ws4sqlite,
//! which is the wording of cRonstrue in lower case. No crate produces it. Where this wording would be misleading,
//! [`describe`] returns `None`, and the caller prints the expression itself.

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A parsed field of a cron expression. Names of months and weekdays are converted to numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldPattern {
    Any,
    List(Vec<u32>),
    Range(u32, u32),
    Every(u32),
    EveryFrom(u32, u32),
    EveryWithin(u32, u32, u32),
}

/// Describes a valid cron expression of five fields; `None` if there is no clear description.
pub(crate) fn describe(expression: &str) -> Option<String> {
    let words: Vec<&str> = expression.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = words[..] else {
        return None;
    };
    let minute = FieldPattern::parse(minute, 0, &[])?;
    let hour = FieldPattern::parse(hour, 0, &[])?;
    let day = FieldPattern::parse(day, 1, &[])?;
    let month = FieldPattern::parse(month, 1, &MONTHS)?;
    let weekday = FieldPattern::parse(weekday, 0, &WEEKDAYS)?;
    let parts = [
        time_of_day(&minute, &hour)?,
        day_of_month(&day),
        day_of_week(&weekday, day == FieldPattern::Any)?,
        month_of_year(&month)?,
    ];
    Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "))
}

impl FieldPattern {
    /// Parses a field of a cron expression; `None` if there is no clear description for it. `min` is the minimum
    /// number of the field. `names` are the names of the numbers, starting with that of `min`; a field may contain
    /// their first three letters.
    fn parse(text: &str, min: u32, names: &[&str]) -> Option<FieldPattern> {
        let number = |word: &str| {
            let named = names.iter().position(|name| word.eq_ignore_ascii_case(&name[..3]));
            named.map_or_else(|| word.parse().ok(), |index| Some(min + u32::try_from(index).ok()?))
        };
        let (base, step) = match text.split_once('/') {
            Some((base, step)) => (base, Some(step.parse().ok()?)),
            None => (text, None),
        };
        let range = base.split_once('-');
        Some(match (base, range, step) {
            ("*" | "?", _, None | Some(1)) => FieldPattern::Any,
            ("*" | "?", _, Some(step)) => FieldPattern::Every(step),
            (_, Some((low, high)), None) => FieldPattern::Range(number(low)?, number(high)?),
            (_, Some((low, high)), Some(step)) => FieldPattern::EveryWithin(number(low)?, number(high)?, step),
            (_, None, Some(step)) if number(base)? == min => FieldPattern::Every(step),
            (_, None, Some(step)) => FieldPattern::EveryFrom(number(base)?, step),
            (_, None, None) => FieldPattern::List(base.split(',').map(number).collect::<Option<_>>()?),
        })
    }

    fn single(&self) -> Option<u32> {
        match self {
            FieldPattern::List(numbers) if numbers.len() == 1 => numbers.first().copied(),
            _ => None,
        }
    }
}

fn time_of_day(minute: &FieldPattern, hour: &FieldPattern) -> Option<String> {
    if let (Some(minute), FieldPattern::List(hours)) = (minute.single(), hour) {
        let times: Vec<String> = hours.iter().map(|hour| format_time(*hour, minute)).collect();
        return Some(format!("at {}", join_times(&times)));
    }
    let minutes = match (minute, hour) {
        (FieldPattern::List(numbers), FieldPattern::Any | FieldPattern::Range(..)) if *numbers == [0] => {
            "every hour".to_owned()
        }
        _ => minutes(minute)?,
    };
    let hours = match hour {
        FieldPattern::Any => return Some(minutes),
        FieldPattern::List(one)
            if one.len() == 1 && !matches!(minute, FieldPattern::List(_) | FieldPattern::Range(..)) =>
        {
            format_hours(one[0], one[0])
        }
        FieldPattern::List(list) if !matches!(minute, FieldPattern::Range(..)) => {
            format!("at {}", join_words(list.iter().map(|hour| format_time(*hour, 0)).collect()))
        }
        FieldPattern::Range(low, high) => format_hours(*low, *high),
        FieldPattern::Every(step) => format!("every {step} hours"),
        _ => return None,
    };
    Some(format!("{minutes}, {hours}"))
}

fn minutes(field: &FieldPattern) -> Option<String> {
    Some(match field {
        FieldPattern::Any => "every minute".to_owned(),
        FieldPattern::List(numbers) => {
            format!("at {} minutes past the hour", join_words(numbers.iter().map(u32::to_string).collect()))
        }
        FieldPattern::Range(low, high) => format!("minutes {low} through {high} past the hour"),
        FieldPattern::Every(step) => format!("every {step} minutes"),
        FieldPattern::EveryFrom(start, step) => {
            format!("every {step} minutes, starting at {start} minutes past the hour")
        }
        FieldPattern::EveryWithin(low, high, step) => {
            format!("every {step} minutes, minutes {low} through {high} past the hour")
        }
    })
}

fn day_of_month(field: &FieldPattern) -> String {
    match field {
        FieldPattern::Any => String::new(),
        FieldPattern::List(days) => {
            format!("on day {} of the month", join_words(days.iter().map(u32::to_string).collect()))
        }
        FieldPattern::Range(low, high) => format!("between day {low} and {high} of the month"),
        FieldPattern::Every(step) => format!("every {step} days"),
        FieldPattern::EveryFrom(start, step) => format!("every {step} days, starting on day {start} of the month"),
        FieldPattern::EveryWithin(low, high, step) => {
            format!("every {step} days, between day {low} and {high} of the month")
        }
    }
}

fn day_of_week(field: &FieldPattern, any_day: bool) -> Option<String> {
    let name = |day: &u32| WEEKDAYS.get(*day as usize).map(|name| (*name).to_owned());
    Some(match field {
        FieldPattern::Any => String::new(),
        FieldPattern::List(days) => {
            let intro = if any_day { "only on" } else { "and on" };
            format!("{intro} {}", join_words(days.iter().map(name).collect::<Option<_>>()?))
        }
        FieldPattern::Range(low, high) => format!("{} through {}", name(low)?, name(high)?),
        FieldPattern::Every(step) => format!("every {step} days of the week"),
        FieldPattern::EveryFrom(..) | FieldPattern::EveryWithin(..) => return None,
    })
}

fn month_of_year(field: &FieldPattern) -> Option<String> {
    let name = |month: &u32| MONTHS.get((*month as usize).checked_sub(1)?).map(|name| (*name).to_owned());
    Some(match field {
        FieldPattern::Any => String::new(),
        FieldPattern::List(months) => {
            format!("only in {}", join_words(months.iter().map(name).collect::<Option<_>>()?))
        }
        FieldPattern::Range(low, high) => format!("{} through {}", name(low)?, name(high)?),
        FieldPattern::Every(step) => format!("every {step} months"),
        FieldPattern::EveryFrom(..) | FieldPattern::EveryWithin(..) => return None,
    })
}

/// Formats a time of day like `02:30 pm`.
fn format_time(hour: u32, minute: u32) -> String {
    let half = if hour < 12 { "am" } else { "pm" };
    let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    format!("{twelve:02}:{minute:02} {half}")
}

/// Describes the period from the beginning of the hour `low` to the end of the hour `high`.
fn format_hours(low: u32, high: u32) -> String {
    format!("between {} and {}", format_time(low, 0), format_time(high, 59))
}

/// Joins words with commas and "and": `a`, `a and b`, `a, b, and c`.
fn join_words(items: Vec<String>) -> String {
    match items.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [rest @ .., last] => format!("{}, and {last}", rest.join(", ")),
    }
}

/// Joins times of day as cRonstrue does, without a comma before "and": `a, b and c`.
fn join_times(times: &[String]) -> String {
    match times {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => times.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_described_in_ws4sqlites_words() {
        let table = [
            ("* * * * *", "every minute"),
            ("0 * * * *", "every hour"),
            ("0 0 * * *", "at 12:00 am"),
            ("0 0,12 * * *", "at 12:00 am and 12:00 pm"),
            ("0 */2 * * *", "at 0 minutes past the hour, every 2 hours"),
            ("* 5 * * *", "every minute, between 05:00 am and 05:59 am"),
            ("5-10 * * * *", "minutes 5 through 10 past the hour"),
            ("0 0 * * 0", "at 12:00 am, only on sunday"),
            ("0 3 * * 1,3,5", "at 03:00 am, only on monday, wednesday, and friday"),
            ("0 0 1 * *", "at 12:00 am, on day 1 of the month"),
            ("0 0 1-7 * *", "at 12:00 am, between day 1 and 7 of the month"),
            ("0 0 1 1 *", "at 12:00 am, on day 1 of the month, only in january"),
            ("10 10 10 10 1", "at 10:10 am, on day 10 of the month, and on monday, only in october"),
            ("*/5 * * * *", "every 5 minutes"),
            ("1 * * * *", "at 1 minutes past the hour"),
            ("30 14 * * *", "at 02:30 pm"),
            ("0,30 * * * *", "at 0 and 30 minutes past the hour"),
            ("0 8-18 * * *", "every hour, between 08:00 am and 06:59 pm"),
            ("*/10 5 * * *", "every 10 minutes, between 05:00 am and 05:59 am"),
            ("5/15 * * * *", "every 15 minutes, starting at 5 minutes past the hour"),
            ("0 3 * * 1-5", "at 03:00 am, monday through friday"),
            ("0 0 */2 * *", "at 12:00 am, every 2 days"),
            ("0 0 1,15 * *", "at 12:00 am, on day 1 and 15 of the month"),
            ("0 0 1 */3 *", "at 12:00 am, on day 1 of the month, every 3 months"),
            ("0 0 * 1-3 *", "at 12:00 am, january through march"),
            (
                "0-30/5 8-18 * * 1-5",
                "every 5 minutes, minutes 0 through 30 past the hour, between 08:00 am and 06:59 pm, monday through \
                 friday",
            ),
        ];
        for (expression, text) in table {
            assert_eq!(describe(expression).as_deref(), Some(text), "{expression}");
        }
    }

    #[test]
    fn names_and_question_marks_are_recognised() {
        assert_eq!(describe("0 0 ? JAN SUN").as_deref(), Some("at 12:00 am, only on sunday, only in january"));
        assert_eq!(describe("0/5 * * * *").as_deref(), Some("every 5 minutes"));
    }

    #[test]
    fn unclear_expressions_have_no_description() {
        for expression in ["1-2,5 * * * *", "0 1/2 * * *", "0 0 1 2/3 *", "5-10 3 * * *", "", "* * * *"] {
            assert_eq!(describe(expression), None, "{expression}");
        }
    }
}
