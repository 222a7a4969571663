//! Replaces the C library's conversion to local time, so that the modifiers `localtime` and `utc` refer to the time
//! zone of the batch that runs on the calling thread.
//!
//! SQLite has a function pointer for this conversion that its own tests use (`SQLITE_TESTCTRL_LOCALTIME_FAULT` with the
//! value 2: `sqlite3_test_control` in SQLite's `main.c`). The pointer is one for the whole process. Outside a batch,
//! and for databases with the time zone of the process, the replacement calls the C library.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Once;

use rusqlite::ffi;

use crate::engine::time_zone::{CivilTime, NamedZone, TimeZone};

thread_local! {
    static ZONE: Cell<TimeZone> = const { Cell::new(TimeZone::Process) };
}

/// Sets the time zone of this thread, and returns the previous one.
pub(super) fn replace_zone(zone: TimeZone) -> TimeZone {
    ZONE.replace(zone)
}

/// Installs the replacement, once per process. Returns whether that is possible.
pub(crate) fn install() -> bool {
    static INSTALL: Once = Once::new();
    // SAFETY: the name is NUL-terminated, and SQLite only reads it.
    let is_untestable = unsafe { ffi::sqlite3_compileoption_used(c"UNTESTABLE".as_ptr()) != 0 };
    if is_untestable || cfg!(not(unix)) {
        return false;
    }
    INSTALL.call_once(|| {
        let replacement: unsafe extern "C" fn(*const c_void, *mut c_void) -> c_int = local_time;
        let mode: c_int = 2;
        // SAFETY: for this operation `sqlite3_test_control` expects an `int` and a function of this type. The function
        // is never removed.
        unsafe { ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_LOCALTIME_FAULT, mode, replacement) };
    });
    true
}

/// The first members of C's `struct tm`. POSIX does not fix their order, but it is the same in all C libraries.
#[repr(C)]
struct Tm {
    second: c_int,
    minute: c_int,
    hour: c_int,
    day: c_int,
    /// 0 to 11.
    month: c_int,
    /// The years since 1900.
    year: c_int,
}

#[cfg(unix)]
unsafe extern "C" {
    /// Converts a `time_t` to a `struct tm` in UTC.
    fn gmtime_r(time: *const c_void, tm: *mut c_void) -> *mut c_void;
    /// Converts a `time_t` to a `struct tm` in the time zone of the process.
    fn localtime_r(time: *const c_void, tm: *mut c_void) -> *mut c_void;
}

#[cfg(unix)]
unsafe extern "C" fn local_time(time: *const c_void, tm: *mut c_void) -> c_int {
    // SAFETY: SQLite passes a `time_t` and a `struct tm`, as these functions expect them. The `struct tm` begins with
    // the members of `Tm`, and this function has the only reference to it.
    let is_converted = unsafe {
        match ZONE.get() {
            TimeZone::Process => !localtime_r(time, tm).is_null(),
            TimeZone::Utc => !gmtime_r(time, tm).is_null(),
            TimeZone::Named(zone) => !gmtime_r(time, tm).is_null() && to_local(zone, &mut *tm.cast::<Tm>()).is_some(),
        }
    };
    c_int::from(!is_converted)
}

#[cfg(not(unix))]
unsafe extern "C" fn local_time(_: *const c_void, _: *mut c_void) -> c_int {
    1
}

/// Converts a time in UTC to the local time. Returns `None` if the time is out of range.
fn to_local(zone: NamedZone, tm: &mut Tm) -> Option<()> {
    let number = |value: c_int| u32::try_from(value).ok();
    let local = zone.to_local(CivilTime {
        year: tm.year.checked_add(1900)?,
        month: number(tm.month)? + 1,
        day: number(tm.day)?,
        hour: number(tm.hour)?,
        minute: number(tm.minute)?,
        second: number(tm.second)?,
    })?;
    let number = |value: u32| c_int::try_from(value).ok();
    *tm = Tm {
        second: number(local.second)?,
        minute: number(local.minute)?,
        hour: number(local.hour)?,
        day: number(local.day)?,
        month: number(local.month)? - 1,
        year: local.year - 1900,
    };
    Some(())
}
