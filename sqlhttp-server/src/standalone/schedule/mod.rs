//! What is done by the clock: tasks of `scheduledTasks`, macros and backups with a period, and the backups' files.
//!
//! `cron` and `describe` understand a schedule, `rotation` names backups and says which are too old, `backup`, `task`
//! and `macros` do one run, `runner` waits for the next. Only `runner` knows the time; everybody else is told.

mod backup;
mod cron;
mod describe;
mod macros;
mod rotation;
mod runner;
mod task;

pub use cron::Schedule;
pub use macros::{DirectoryBackupError, MacroError, run_directory_backup, run_macro, run_macro_unattended};
pub(crate) use rotation::directory_of as backup_dir_of;
pub use runner::{Clock, ReportFailure, ScheduledJob, SystemClock, jobs_of, run};
pub(crate) use task::{run as run_task, run_scripts};
