//! Scheduled work: the tasks of `scheduledTasks`, and the macros and backups that run periodically.
//!
//! * `cron`: parses a schedule and computes its next time.
//! * `describe`: describes a cron expression in English.
//! * `runner`: waits for the next time of each job and runs the job.
//! * `task`: runs a task of `scheduledTasks` once.
//! * `macros`: runs a macro or a directory backup of sqliterg once.
//! * `backup`: makes one backup and removes old ones.
//! * `rotation`: names backups and selects the old ones.
//!
//! Only `runner` reads the system clock; the other modules receive the time as a parameter.

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
