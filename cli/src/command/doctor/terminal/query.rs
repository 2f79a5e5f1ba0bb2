//! Asking the terminal itself. Whatever happens, it is left as it was: the guard puts it back when it is dropped, and what
//! it answers late is read away first.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr},
    unistd::{getpgrp, tcgetpgrp},
};
use tokio::time::{Instant, sleep};

/// A terminal at the other end of the earth answers within this; every terminal answers the second question.
const DEADLINE: Duration = Duration::from_millis(400);
/// Between two looks for an answer: short beside any road to a terminal.
const PAUSE: Duration = Duration::from_millis(4);
/// Most bytes of an answer that are kept.
const MOST: usize = 512;
/// Kitty's graphics query (`a=q`, an RGB picture of one pixel, number 31), then primary device attributes (ECMA-48, DA1).
const QUESTION: &[u8] = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c";

/// What it said of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// It draws kitty's.
    pub(super) kitty: bool,
    /// It draws sixels.
    pub(super) sixel: bool,
}

/// Asks, unless this process may not read the terminal, and hears nothing but the answer. `None` where it keeps silent.
pub(super) async fn ask() -> Option<Answer> {
    let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/tty").ok()?;
    // A job in the background would be stopped for reading.
    if tcgetpgrp(&terminal).ok()? != getpgrp() {
        return None;
    }
    let quiet = Quiet::over(terminal).ok()?;
    (&quiet.terminal).write_all(QUESTION).ok()?;
    let until = Instant::now() + DEADLINE;
    let mut heard = Vec::new();
    while heard.len() < MOST && attributes(&heard).is_none() {
        let mut buffer = [0; 64];
        match (&quiet.terminal).read(&mut buffer) {
            Ok(length) if length > 0 => heard.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(PAUSE).await
            }
            Ok(_) | Err(_) => return None,
        }
    }
    read_answer(&heard)
}

/// A terminal that neither echoes nor waits for whole lines, until this is dropped. Ctrl-C stays a signal.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn over(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        quiet.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        quiet.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(terminal.as_fd(), SetArg::TCSANOW, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // TCSAFLUSH throws away what came too late, which would otherwise stand at the prompt.
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSAFLUSH, &self.before);
    }
}

fn read_answer(heard: &[u8]) -> Option<Answer> {
    let attributes = attributes(heard)?;
    let kitty = heard.windows(GRAPHICS.len()).any(|window| window == GRAPHICS);
    // Attribute 4: sixel graphics (VT340 and its kin).
    Some(Answer { kitty, sixel: attributes.split(';').any(|attribute| attribute == "4") })
}

/// How an answer to the first question begins, whether it is OK or an error: the protocol is known.
const GRAPHICS: &[u8] = b"\x1b_Gi=31;";

/// What stands between `ESC [ ?` and `c`, once all of it is there.
fn attributes(heard: &[u8]) -> Option<String> {
    let start = heard.windows(3).position(|window| window == b"\x1b[?")? + 3;
    let length = heard[start..].iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
    let is_whole = heard[start + length] == b'c';
    is_whole.then(|| String::from_utf8_lossy(&heard[start..start + length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_once_they_are_whole() {
        let whole = b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4;22c";
        assert_eq!(read_answer(whole), Some(Answer { kitty: true, sixel: true }));
        for length in 0..whole.len() {
            assert_eq!(read_answer(&whole[..length]), None, "{length}");
        }
        assert_eq!(read_answer(b"\x1b[?1;2c"), Some(Answer { kitty: false, sixel: false }));
        assert_eq!(read_answer(b"\x1b[?64;14;44c"), Some(Answer { kitty: false, sixel: false }));
        // A person types meanwhile; another report comes first.
        assert_eq!(read_answer(b"ls\n\x1b[?1;4c"), Some(Answer { kitty: false, sixel: true }));
        assert_eq!(read_answer(b"\x1b[?x\xff\xfe"), None);
    }
}
