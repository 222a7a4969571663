use super::*;

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}

/// Returns the next `count` times of the expression after `from`, in UTC, which has no daylight saving time.
fn upcoming(expression: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(&format!("TZ=UTC {expression}")).unwrap();
    let mut moments = Vec::new();
    let mut now = utc(from);
    while let Some(next) = schedule.next_after(now).filter(|_| moments.len() < count) {
        moments.push(next.format("%Y-%m-%d %H:%M:%S").to_string());
        now = next;
    }
    moments
}

#[test]
fn fields_determine_times() {
    assert_eq!(upcoming("* * * * *", "2026-01-01T00:00:30Z", 2), ["2026-01-01 00:01:00", "2026-01-01 00:02:00"]);
    assert_eq!(upcoming("1 * * * *", "2026-01-01T00:01:00Z", 1), ["2026-01-01 01:01:00"]);
    assert_eq!(
        upcoming("*/25 5 * * *", "2026-01-01T05:00:00Z", 3),
        ["2026-01-01 05:25:00", "2026-01-01 05:50:00", "2026-01-02 05:00:00"]
    );
    assert_eq!(
        upcoming("0-30/15 8-9 * * *", "2026-01-01T08:20:00Z", 2),
        ["2026-01-01 08:30:00", "2026-01-01 09:00:00"]
    );
    assert_eq!(upcoming("50/5 0 * * *", "2026-01-01T00:50:00Z", 2), ["2026-01-01 00:55:00", "2026-01-02 00:50:00"]);
    assert_eq!(
        upcoming("0  0   1 JAN,jul *", "2026-01-01T00:00:00Z", 2),
        ["2026-07-01 00:00:00", "2027-01-01 00:00:00"]
    );
    assert_eq!(upcoming("? ? ? ? ?", "2026-01-01T00:00:00Z", 1), ["2026-01-01 00:01:00"]);
    assert_eq!(upcoming("*/90 * * * *", "2026-01-01T00:00:00Z", 1), ["2026-01-01 01:00:00"]);
    assert_eq!(upcoming("0 0 29 2 *", "2026-01-01T00:00:00Z", 1), ["2028-02-29 00:00:00"]);
    assert_eq!(upcoming("0 0 30 2 *", "2026-01-01T00:00:00Z", 1), Vec::<String>::new());
}

#[test]
fn weekdays_count_from_sunday() {
    // 2026-01-01 is a Thursday.
    assert_eq!(upcoming("0 0 * * 0", "2026-01-01T00:00:00Z", 1), ["2026-01-04 00:00:00"]);
    assert_eq!(upcoming("0 0 * * 6", "2026-01-01T00:00:00Z", 1), ["2026-01-03 00:00:00"]);
    assert_eq!(upcoming("0 0 * * MON-wed", "2026-01-01T00:00:00Z", 2), ["2026-01-05 00:00:00", "2026-01-06 00:00:00"]);
}

#[test]
fn two_restricted_day_fields_match_either() {
    assert_eq!(
        upcoming("10 10 10 10 1", "2026-10-01T00:00:00Z", 3),
        ["2026-10-05 10:10:00", "2026-10-10 10:10:00", "2026-10-12 10:10:00"]
    );
    // A field with a step counts as restricted, except `*/1`.
    assert_eq!(upcoming("0 0 */10 * 0", "2026-01-01T00:00:00Z", 2), ["2026-01-04 00:00:00", "2026-01-11 00:00:00"]);
    assert_eq!(upcoming("0 0 */1 * 0", "2026-01-01T00:00:00Z", 1), ["2026-01-04 00:00:00"]);
}

#[test]
fn descriptors_are_recognised() {
    let next = |text: &str| upcoming(text, "2026-01-01T00:00:00Z", 1).remove(0);
    assert_eq!(next("@yearly"), "2027-01-01 00:00:00");
    assert_eq!(next("@annually"), "2027-01-01 00:00:00");
    assert_eq!(next("@monthly"), "2026-02-01 00:00:00");
    assert_eq!(next("@weekly"), "2026-01-04 00:00:00");
    assert_eq!(next("@daily"), "2026-01-02 00:00:00");
    assert_eq!(next("@midnight"), "2026-01-02 00:00:00");
    assert_eq!(next("@hourly"), "2026-01-01 01:00:00");
    assert_eq!(next("@every 90m"), "2026-01-01 01:30:00");
    assert_eq!(next("@every 1.9s"), "2026-01-01 00:00:01");
    assert_eq!(next("@every 1ms"), "2026-01-01 00:00:01");
}

#[test]
fn a_prefix_names_the_zone() {
    for prefix in ["TZ=", "CRON_TZ="] {
        let schedule = Schedule::parse(&format!("{prefix}America/New_York 0 12 * * *")).unwrap();
        assert_eq!(schedule.next_after(utc("2026-01-01T00:00:00Z")), Some(utc("2026-01-01T17:00:00Z")));
        assert_eq!(schedule.next_after(utc("2026-07-01T00:00:00Z")), Some(utc("2026-07-01T16:00:00Z")));
    }
}

#[test]
fn clock_changes_neither_stop_nor_repeat_a_daily_schedule() {
    // Clocks go forward at 02:00 on 2026-03-08 and back on 2026-11-01.
    let schedule = Schedule::parse("TZ=America/New_York 0 5 * * *").unwrap();
    for (before, after) in
        [("2026-03-07T10:00:00Z", "2026-03-08T09:00:00Z"), ("2026-10-31T09:00:00Z", "2026-11-01T10:00:00Z")]
    {
        assert_eq!(schedule.next_after(utc(before)), Some(utc(after)));
    }
    let gap = Schedule::parse("TZ=America/New_York 30 2 * * *").unwrap();
    assert!(gap.next_after(utc("2026-03-08T05:00:00Z")).unwrap() <= utc("2026-03-09T06:30:00Z"));
}

#[test]
fn without_a_prefix_the_local_zone_applies() {
    let next = Schedule::parse("0 12 * * *").unwrap().next_after(utc("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(next.with_timezone(&Local).hour(), 12);
}

#[test]
fn errors_are_those_of_robfig_cron() {
    let cases = [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("  ", "expected exactly 5 fields, found 0: []"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("0 0 * * 7", "end of range (7) above maximum (6): 7"),
        ("0 0 L * *", "failed to parse int from L: strconv.Atoi: parsing \"L\": invalid syntax"),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every", "unrecognized descriptor: @every"),
        ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ("TZ=Foo/Bar * * * * *", "provided bad location Foo/Bar: unknown time zone Foo/Bar"),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
    ];
    for (text, message) in cases {
        assert_eq!(Schedule::parse(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn descriptions_contain_the_zone_and_the_delay() {
    let describe = |text: &str| Schedule::parse(text).unwrap().describe();
    assert_eq!(describe("TZ=UTC 5 4 * * *"), "at 04:05 am (UTC)");
    assert_eq!(describe("@daily"), "at 12:00 am");
    assert_eq!(describe("@every 1h"), "every 1h");
    assert_eq!(describe("1-2,5 * * * *"), "1-2,5 * * * *");
}
