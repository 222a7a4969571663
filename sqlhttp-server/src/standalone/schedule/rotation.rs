//! Names backups and selects the oldest ones. The functions work on names and do not access the file system.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};

/// The pattern of the names of backups: fixed text before and after the time at which the backup was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupNaming {
    /// The directory of the backups.
    pub(crate) dir: PathBuf,
    before: String,
    after: String,
    format: TimestampFormat,
}

/// The format of the time in the name of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimestampFormat {
    /// `260131-2359`. If there are several backups of a minute, a number follows (`260131-2359-1`).
    ShortYear,
    /// `20260131-2359`, without a number: there is at most one backup of a minute.
    LongYear,
}

/// The time in the name of a backup, and its number among the backups of that minute. An older backup compares as less
/// than a newer one.
type BackupAge<'a> = (&'a str, u32);

/// Returns the directory of a task's backups from their `template`. An empty path stands for the working directory.
pub(crate) fn directory_of(template: &str) -> PathBuf {
    BackupNaming::of_template(template).dir
}

impl BackupNaming {
    /// Returns the pattern of the names of a task's backups. `%s` in the file name of the template is replaced with
    /// the time.
    pub(crate) fn of_template(template: &str) -> Self {
        let path = Path::new(template);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (before, after) = name.split_once("%s").unwrap_or((&name, ""));
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        BackupNaming { dir, before: before.to_owned(), after: after.to_owned(), format: TimestampFormat::ShortYear }
    }

    /// Returns the pattern of sqliterg's names of backups: the database's file name, with the time before the
    /// extension.
    pub(crate) fn in_directory(dir: &Path, stem: &str, extension: Option<&str>) -> Self {
        let after = extension.map_or(String::new(), |extension| format!(".{extension}"));
        BackupNaming { dir: dir.to_owned(), before: format!("{stem}_"), after, format: TimestampFormat::LongYear }
    }

    /// Returns the path of a backup made at `now`. `number` distinguishes backups of the same minute; 0 does not
    /// appear in the name.
    pub(crate) fn path(&self, now: DateTime<Local>, number: u32) -> PathBuf {
        let timestamp = self.timestamp(now);
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        self.dir.join(format!("{}{timestamp}{number}{}", self.before, self.after))
    }

    /// Returns the number for a backup made at `now`: one more than the maximum number among the backups of this
    /// minute. `names` are the file names in the directory. A lower number that is free because old backups were
    /// removed must not be used again; otherwise the backup would count as older than the others.
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

    /// Returns the names of the files to remove so that `files_max` backups remain, the oldest first. `names` are the
    /// file names in the directory; names that do not match the pattern are ignored. `newest` is never removed.
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
