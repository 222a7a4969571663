//! The names of backups, and the selection of the oldest ones. Pure functions on names.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};

/// The naming of backups: fixed text around the time at which the backup was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupNaming {
    /// The directory of the backups.
    pub(crate) dir: PathBuf,
    before: String,
    after: String,
    format: TimestampFormat,
}

/// The format of the time in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimestampFormat {
    /// `260131-2359`, followed by a number if there are several backups of a minute (`260131-2359-1`).
    ShortYear,
    /// `20260131-2359`.
    LongYear,
}

/// The time of a backup as its name has it, and its number among the backups of that minute. Older backups compare as
/// less.
type BackupAge<'a> = (&'a str, u32);

/// Returns the directory of the backups that this template names. An empty path means the working directory.
pub(crate) fn directory_of(template: &str) -> PathBuf {
    BackupNaming::of_template(template).dir
}

impl BackupNaming {
    /// Returns the naming by a task's template. `%s` in the file name is replaced by the time.
    pub(crate) fn of_template(template: &str) -> Self {
        let path = Path::new(template);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (before, after) = name.split_once("%s").unwrap_or((&name, ""));
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        BackupNaming { dir, before: before.to_owned(), after: after.to_owned(), format: TimestampFormat::ShortYear }
    }

    /// Returns the naming of sqliterg: the database's file name with the time before its extension.
    pub(crate) fn in_directory(dir: &Path, stem: &str, extension: Option<&str>) -> Self {
        let after = extension.map_or(String::new(), |extension| format!(".{extension}"));
        BackupNaming { dir: dir.to_owned(), before: format!("{stem}_"), after, format: TimestampFormat::LongYear }
    }

    /// Returns the path of a backup made at `now`. `number` distinguishes backups of the same minute; 0 is omitted.
    pub(crate) fn path(&self, now: DateTime<Local>, number: u32) -> PathBuf {
        let timestamp = self.timestamp(now);
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        self.dir.join(format!("{}{timestamp}{number}{}", self.before, self.after))
    }

    /// Returns the number of a backup made at `now`, given the file names of the directory: one more than the highest
    /// number of this minute. A lower number that rotation has freed must not be used again, because the backup would
    /// count as older than the others.
    pub(crate) fn next_number(&self, names: &[String], now: DateTime<Local>) -> u32 {
        let timestamp = self.timestamp(now);
        let of_this_minute = names.iter().filter_map(|name| self.age(name)).filter(|(at, _)| *at == timestamp);
        of_this_minute.map(|(_, number)| number.saturating_add(1)).max().unwrap_or(0)
    }

    fn timestamp(&self, now: DateTime<Local>) -> String {
        let format = match self.format {
            TimestampFormat::ShortYear => "%y%m%d-%H%M",
            TimestampFormat::LongYear => "%Y%m%d-%H%M",
        };
        now.format(format).to_string()
    }

    /// Returns the files of the directory to remove so that `files_max` backups remain, the oldest first. Names of
    /// another form are ignored, and `newest` is never removed.
    pub(crate) fn surplus<'n>(&self, names: &'n [String], newest: &str, files_max: usize) -> Vec<&'n str> {
        let mut others: Vec<(BackupAge<'n>, &'n str)> = names
            .iter()
            .filter(|name| *name != newest)
            .filter_map(|name| self.age(name).map(|age| (age, name.as_str())))
            .collect();
        others.sort_unstable();
        let kept = files_max.saturating_sub(1);
        let surplus = others.len().saturating_sub(kept);
        others.into_iter().take(surplus).map(|(_, name)| name).collect()
    }

    fn age<'n>(&self, name: &'n str) -> Option<BackupAge<'n>> {
        let middle = name.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        let (day_len, may_repeat) = match self.format {
            TimestampFormat::ShortYear => (6, true),
            TimestampFormat::LongYear => (8, false),
        };
        let (timestamp, number) = middle.split_at_checked(day_len + 5)?;
        let (day, minute) = timestamp.split_at_checked(day_len)?;
        let minute = minute.strip_prefix('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(day) || !digits(minute) {
            return None;
        }
        let number = match number.strip_prefix('-') {
            None if number.is_empty() => 0,
            Some(number) if may_repeat && digits(number) => number.parse().ok()?,
            _ => return None,
        };
        Some((timestamp, number))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    fn now() -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 11, 21, 0, 27, 59).unwrap()
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn files_are_named_after_the_minute() {
        let naming = BackupNaming::of_template("./backups/dump_%s.db");
        assert_eq!(naming.path(now(), 0), Path::new("./backups/dump_261121-0027.db"));
        assert_eq!(naming.path(now(), 2), Path::new("./backups/dump_261121-0027-2.db"));
        assert_eq!(BackupNaming::of_template("%s").path(now(), 0), Path::new("261121-0027"));
    }

    #[test]
    fn directory_backups_are_named_after_the_database() {
        let naming = BackupNaming::in_directory(Path::new("b"), "test", Some("db"));
        assert_eq!(naming.path(now(), 0), Path::new("b/test_20261121-0027.db"));
        assert_eq!(
            BackupNaming::in_directory(Path::new("b"), "m", None).path(now(), 0),
            Path::new("b/m_20261121-0027")
        );
    }

    #[test]
    fn the_oldest_are_surplus_but_never_the_newest() {
        let naming = BackupNaming::of_template("bk/x_%s.db");
        let list = names(&[
            "x_200101-0101.db",
            "x_210101-0101.db",
            "x_991231-2359.db",
            "x_20200101-0101.db",
            "x_abc.db",
            "x_aaaaaa-bbbb.db",
            "x_261121-0027.db",
            "y_200101-0101.db",
            "x_200101-0101.db-wal",
        ]);
        assert_eq!(naming.surplus(&list, "x_261121-0027.db", 2), ["x_200101-0101.db", "x_210101-0101.db"]);
        assert_eq!(
            naming.surplus(&list, "x_261121-0027.db", 1),
            ["x_200101-0101.db", "x_210101-0101.db", "x_991231-2359.db"]
        );
        assert!(naming.surplus(&list, "x_261121-0027.db", 4).is_empty());
    }

    #[test]
    fn several_backups_of_a_minute_are_in_order() {
        let naming = BackupNaming::of_template("x_%s.db");
        let list = names(&["x_261121-0027-10.db", "x_261121-0027-2.db", "x_261121-0027.db", "x_261121-0027-.db"]);
        assert_eq!(naming.surplus(&list, "x_261121-0027-10.db", 2), ["x_261121-0027.db"]);
        assert_eq!(naming.surplus(&list, "x_261121-0027-10.db", 1), ["x_261121-0027.db", "x_261121-0027-2.db"]);
    }

    #[test]
    fn a_name_that_rotation_has_freed_is_not_used_again() {
        let naming = BackupNaming::of_template("x_%s.db");
        assert_eq!(naming.next_number(&names(&["x_261121-0026.db", "x.db"]), now()), 0);
        assert_eq!(naming.next_number(&names(&["x_261121-0027.db"]), now()), 1);
        assert_eq!(naming.next_number(&names(&["x_261121-0027-2.db", "x_261121-0027-10.db"]), now()), 11);
    }

    #[test]
    fn only_files_of_the_pattern_count_in_a_directory() {
        let naming = BackupNaming::in_directory(Path::new("b"), "t", Some("db"));
        let list =
            names(&["t_20200101-0101.db", "t_20200101-0101-1.db", "t.db", "other", "t_20210101-0101.db", "t_é0101.db"]);
        assert_eq!(naming.surplus(&list, "t_20210101-0101.db", 1), ["t_20200101-0101.db"]);
    }
}
