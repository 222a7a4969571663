//! The interactive shell, at a pseudoterminal.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::{node, run};

/// The maximum time for which a test waits for a text.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The shell at a pseudoterminal with 20 rows and 80 columns.
struct Terminal {
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// The output since the last text that was expected.
    rest: String,
    shell: Child,
}

impl Terminal {
    /// Starts the shell with a home directory.
    fn new(home: &Path) -> Terminal {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        tcsetwinsize(&keys, Winsize { ws_row: 20, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let terminal = || File::options().read(true).write(true).open(&name).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqlhttp"));
        command.args(["-p", &node().to_string()]).env("HOME", home).env("TERM", "xterm").env("SQLHTTP_PAGER", "cat");
        command.env_remove("RQLITE_HOST").env_remove("NO_COLOR");
        let [input, output, errors] = [terminal(), terminal(), terminal()].map(Stdio::from);
        let shell = command.stdin(input).stdout(output).stderr(errors).spawn().unwrap();
        let keys = File::from(keys);
        let mut screen = keys.try_clone().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the shell has closed the terminal.
            while let Ok(length) = screen.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut terminal = Terminal { keys, shown, rest: String::new(), shell };
        terminal.expect("> ");
        terminal
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is shown. Returns what is shown before it, without the codes of the terminal.
    fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + TIMEOUT;
        loop {
            let plain = console::strip_ansi_codes(&self.rest).into_owned();
            if let Some((before, after)) = plain.split_once(text) {
                self.rest = after.to_owned();
                return before.to_owned();
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.rest += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("'{text}' is not shown, but {:?}: {error}", self.rest),
            }
        }
    }

    /// Sends the signal of Ctrl-C until the shell has interrupted a statement: the statement may not have begun yet.
    fn interrupt(&mut self) {
        const MESSAGE: &str = "interrupted; a write may have been carried out\r\n";
        let until = Instant::now() + TIMEOUT;
        while !self.rest.contains(MESSAGE) {
            assert!(Instant::now() < until, "nothing is interrupted: {:?}", self.rest);
            let status = Command::new("kill").args(["-INT", &self.shell.id().to_string()]).status().unwrap();
            assert!(status.success());
            if let Ok(bytes) = self.shown.recv_timeout(Duration::from_millis(100)) {
                self.rest += &String::from_utf8_lossy(&bytes);
            }
        }
        self.expect(MESSAGE);
        self.expect("> ");
    }

    /// Ends the shell with Ctrl-D. Returns its exit status.
    fn end(mut self) -> i32 {
        // A key that is pressed before the shell reads one is lost: Ctrl-D is pressed until it takes effect.
        let until = Instant::now() + TIMEOUT;
        while !self.rest.contains("bye~") {
            assert!(Instant::now() < until, "the shell does not end: {:?}", self.rest);
            let _ = self.keys.write_all(b"\x04");
            if let Ok(bytes) = self.shown.recv_timeout(Duration::from_millis(100)) {
                self.rest += &String::from_utf8_lossy(&bytes);
            }
        }
        self.shell.wait().unwrap().code().unwrap()
    }
}

/// A query that runs until it is interrupted.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n;";

#[test]
fn a_session() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new(home.path());
    terminal.press("CREATE TABLE terminal_pets(\r");
    terminal.expect("...> ");
    terminal.press("  name TEXT);\r");
    terminal.expect("0 row affected");
    terminal.expect("> ");
    // Tab completes the name of the new table.
    terminal.press("INSERT INTO terminal_p\t VALUES('Rex');\r");
    terminal.expect("1 row affected");
    terminal.expect("> ");
    terminal.press("SELECT * FROM missing_table;\r");
    terminal.expect("Error: no such table: missing_table");
    terminal.expect("> ");
    terminal.press(".mode csv\r");
    terminal.expect("csv\r\r\n");
    terminal.expect("> ");
    terminal.press("SELECT name FROM terminal_pets;\r");
    terminal.expect("name\r\nRex\r\n");
    assert_eq!(terminal.end(), 0, "the user has seen the errors");
    let history = std::fs::read_to_string(home.path().join(".sqlhttp_history")).unwrap();
    assert!(history.contains("SELECT name FROM terminal_pets;\n"), "{history}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &home.path().join(".sqlhttp_history").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn ctrl_c_ends_a_query_and_the_rest_of_its_line() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new(home.path());
    terminal.press(&format!("{ENDLESS} CREATE TABLE after_ctrl_c(a);\r"));
    // The line is complete when the cursor moves to the next one. Before that, Ctrl-C would discard the line.
    terminal.expect("after_ctrl_c(a);\r\r\n");
    terminal.interrupt();
    terminal.press("SELECT 'still' || ' here' AS a;\r");
    terminal.expect("| still here |");
    assert_eq!(terminal.end(), 0);
    assert_eq!(run(node(), &["SELECT * FROM after_ctrl_c"], "").err, "Error: no such table: after_ctrl_c\n");
}

#[test]
fn files_that_read_files_are_interrupted_without_traces() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("script");
    std::fs::write(&script, ENDLESS).unwrap();
    let quick = home.path().join("quick");
    std::fs::write(&quick, "SELECT 'qu' || 'ick' AS a;").unwrap();
    let mut terminal = Terminal::new(home.path());
    // More often than files may be nested.
    for _ in 0..10 {
        terminal.press(&format!(".read {}\r", script.display()));
        terminal.expect("script\r\r\n");
        terminal.interrupt();
    }
    terminal.press(&format!(".read {}\r", quick.display()));
    terminal.expect("| quick |");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_statement_that_is_not_complete_is_not_executed_at_the_end() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new(home.path());
    terminal.press("CREATE TABLE not_complete(a)\r");
    terminal.expect("...> ");
    assert_eq!(terminal.end(), 0);
    assert_eq!(run(node(), &["SELECT * FROM not_complete"], "").err, "Error: no such table: not_complete\n");
}

#[test]
fn a_long_result_is_shown_by_the_pager() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new(home.path());
    // The pager of the tests is cat, which shows everything.
    terminal.press("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT i FROM n;\r");
    terminal.expect("| 300 |");
    terminal.expect("> ");
    terminal.press("SELECT 1 AS one;\r");
    terminal.expect("| 1   |");
    assert_eq!(terminal.end(), 0);
}
