//! Where the passphrase of the sealed file comes from: a file descriptor, or a person at a terminal. Never an argument or
//! an environment variable, which other processes can read.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use zeroize::Zeroizing;

/// Longest passphrase in bytes.
pub const MAX_PASSPHRASE_LENGTH: usize = 1024;

/// The flag that names the descriptor, for every command that may need keys.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PassphraseArgs {
    /// Read the passphrase of the sealed key file, used where no keyring answers, from this file descriptor
    /// (CBROWSE_PASSPHRASE_FD).
    #[arg(long, value_name = "N", env = "CBROWSE_PASSPHRASE_FD", hide_env = true, value_parser = clap::value_parser!(i32).range(0..))]
    pub passphrase_fd: Option<i32>,
    /// A descriptor can be read once; everything that one command opens shares what was read.
    #[arg(skip)]
    shared: OnceLock<PassphraseSource>,
}

impl PassphraseArgs {
    /// The source that the flag names; the same one each time.
    pub fn source(&self) -> PassphraseSource {
        self.shared.get_or_init(|| PassphraseSource::new(self.passphrase_fd)).clone()
    }
}

/// A passphrase that is asked for when it is needed, and once. Clones share what was read.
#[derive(Clone)]
pub struct PassphraseSource {
    descriptor: Option<i32>,
    read: Arc<Mutex<Option<Zeroizing<String>>>>,
}

impl std::fmt::Debug for PassphraseSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PassphraseSource({:?})", self.descriptor)
    }
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// No descriptor was named, and nobody is at a terminal.
    #[error("no --passphrase-fd, and no terminal to ask at")]
    NobodyToAsk,
    /// The descriptor does not give one.
    #[error("cannot read it from descriptor {descriptor}: {source}")]
    Descriptor {
        /// Its number.
        descriptor: i32,
        /// What it said.
        source: io::Error,
    },
    /// Asking failed.
    #[error("cannot ask for it: {0}")]
    Asking(io::Error),
    /// An empty line, or an overlong one.
    #[error("it must have 1 to {MAX_PASSPHRASE_LENGTH} bytes")]
    Length,
    /// A new one, typed twice in two ways.
    #[error("the two that were typed differ")]
    Differ,
}

impl PassphraseSource {
    /// From this descriptor, or where there is none, from the terminal.
    pub fn new(descriptor: Option<i32>) -> Self {
        Self { descriptor, read: Arc::default() }
    }

    /// Whether a passphrase was named on the command line, so that no keyring is wanted.
    pub fn is_given(&self) -> bool {
        self.descriptor.is_some()
    }

    /// The passphrase for `file`; a new one is asked for twice.
    pub fn get(&self, file: &Path, is_new: bool) -> Result<Zeroizing<String>, PassphraseError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*read {
            return Ok(known.clone());
        }
        let passphrase = match self.descriptor {
            Some(descriptor) => from_descriptor(descriptor)?,
            None => from_terminal(file, is_new)?,
        };
        if passphrase.is_empty() || passphrase.len() > MAX_PASSPHRASE_LENGTH {
            return Err(PassphraseError::Length);
        }
        *read = Some(passphrase.clone());
        Ok(passphrase)
    }
}

fn from_descriptor(descriptor: i32) -> Result<Zeroizing<String>, PassphraseError> {
    let failed = |source| PassphraseError::Descriptor { descriptor, source };
    let file = File::open(format!("/dev/fd/{descriptor}")).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_LENGTH + 2));
    let mut limited = file.take(MAX_PASSPHRASE_LENGTH as u64 + 2);
    let mut byte = [0];
    // To the end of the line, not of the stream: whoever writes may keep it open.
    while limited.read(&mut byte).map_err(failed)? == 1 && byte[0] != b'\n' {
        bytes.push(byte[0]);
    }
    let line = std::str::from_utf8(&bytes).map_err(|error| failed(io::Error::other(error)))?;
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// All that a descriptor gives, for a secret that has several lines; more than `limit` bytes is an error.
pub fn text_from_descriptor(descriptor: i32, limit: usize) -> Result<Zeroizing<String>, PassphraseError> {
    let failed = |source| PassphraseError::Descriptor { descriptor, source };
    let file = File::open(format!("/dev/fd/{descriptor}")).map_err(failed)?;
    let mut text = Zeroizing::new(String::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > limit {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "more than expected")));
    }
    Ok(text)
}

/// Asks at the terminal, without showing what is typed.
pub fn ask_hidden(question: &str) -> Result<Zeroizing<String>, PassphraseError> {
    if !io::stderr().is_terminal() || File::open("/dev/tty").is_err() {
        return Err(PassphraseError::NobodyToAsk);
    }
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(PassphraseError::Asking)
}

fn from_terminal(file: &Path, is_new: bool) -> Result<Zeroizing<String>, PassphraseError> {
    if !io::stderr().is_terminal() || File::open("/dev/tty").is_err() {
        return Err(PassphraseError::NobodyToAsk);
    }
    let ask = |question: String| {
        rpassword::prompt_password(question).map(Zeroizing::new).map_err(PassphraseError::Asking)
    };
    if !is_new {
        return ask(format!("Passphrase of {}: ", file.display()));
    }
    let first = ask(format!("New passphrase for {}: ", file.display()))?;
    let second = ask("Once more: ".to_owned())?;
    if *first == *second { Ok(first) } else { Err(PassphraseError::Differ) }
}
