//! `cbrowse profile key recover`: the account key from words on paper, or from its passphrase slot, back into this machine's keyring.

use cbrowse_profile::{
    account::{
        Account, AccountDirectory, AccountError, LogError, Standing,
        words::{MAX_TEXT_LENGTH, from_words},
    },
    authority::{Authority, list},
    keys::AccountKey,
    slot::open_slot,
};
use serde_json::json;

use super::{account, failures, fits, keep};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    date,
    failure::{Exit, Failure},
    keyring::{
        Keyring, KeyringError, SealedError, Secret,
        passphrase::{PassphraseArgs, PassphraseSource, ask_hidden, text_from_descriptor},
    },
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile key recover
  cbrowse profile key recover --words-fd 3 3<words.txt
  cbrowse profile key recover --from-passphrase
  cbrowse profile key recover --set-aside --passphrase-fd 4 4<new-passphrase.txt

Words are never arguments, which other processes can read. They are checked against the profiles of
this machine before anything is written.
";

/// Arguments of `cbrowse profile key recover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read the recovery words from this file descriptor instead of asking at the terminal.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), conflicts_with = "from_passphrase")]
    pub words_fd: Option<i32>,
    /// Use the passphrase of `key add-passphrase` instead of words.
    #[arg(long)]
    pub from_passphrase: bool,
    /// Read that passphrase from this file descriptor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), requires = "from_passphrase")]
    pub slot_fd: Option<i32>,
    /// Set the sealed file, or the note that a keyring has the keys, aside and keep the key in a new place.
    #[arg(long)]
    pub set_aside: bool,
    /// Replace the key of another account that the keyring holds and that opens nothing here.
    #[arg(long)]
    pub replace_key: bool,
    /// Where the passphrase of the sealed file comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Recovered {
    epoch: u32,
    kept_in: String,
    already: bool,
    aside: Option<std::path::PathBuf>,
    newest_save: Option<u64>,
}

enum Way {
    Words(Option<i32>),
    Slot(Option<i32>),
}

/// Recovers.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let way = if args.from_passphrase { Way::Slot(args.slot_fd) } else { Way::Words(args.words_fd) };
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let (set_aside, replace) = (args.set_aside, args.replace_key);
    let recovered = blocking(move || {
        let key = read(&way, &paths)?;
        let (account, newest_save) = check(&key, &paths)?;
        put(&key, &account, &paths, source, set_aside, replace)
            .map(|recovered| Recovered { newest_save, ..recovered })
    })
    .await?;
    report(globals, &recovered)
}

fn read(way: &Way, paths: &Paths) -> Result<AccountKey, Failure> {
    match way {
        Way::Words(descriptor) => {
            let text = match descriptor {
                Some(descriptor) => text_from_descriptor(*descriptor, MAX_TEXT_LENGTH),
                None => ask_hidden("Recovery words, on one line (they are not shown): "),
            };
            let text = text.map_err(|error| failures::nobody_gave("word", &error, "--words-fd"))?;
            Ok(from_words(&text)?)
        }
        Way::Slot(descriptor) => {
            let directory = AccountDirectory::at(paths.account());
            let Some(slot) = directory.passphrase_slot()? else {
                let message = "no passphrase opens the account key here";
                return Err(Failure::new(Exit::Profile, "no_slot", message)
                    .hint("use your recovery words: cbrowse profile key recover; nothing was changed"));
            };
            let source = PassphraseSource::new(*descriptor);
            let passphrase = source
                .get(&directory.path().join("passphrase.slot"), false)
                .map_err(|error| failures::nobody_gave("passphrase", &error, "--slot-fd"))?;
            open_slot(&slot, &passphrase).map_err(failures::slot_failure)
        }
    }
}

/// The key must be the newest of the account whose files are here, and have made the profiles that are. Words prove nothing about
/// what is newest, so the date of the newest save here is told, too.
fn check(key: &AccountKey, paths: &Paths) -> Result<(Account, Option<u64>), Failure> {
    let directory = AccountDirectory::at(paths.account());
    let account = match directory.open(key.duplicate()) {
        Ok(Standing::Whole(account) | Standing::Interrupted { account, .. }) => account,
        Err(AccountError::Superseded { found, newest }) => {
            let message = format!(
                "this is the key of epoch {found}; it was rotated away, and epoch {newest} is current"
            );
            return Err(Failure::new(Exit::Profile, "words_superseded", message)
                .hint("use the words that were written down after the rotation; nothing was changed"));
        }
        Err(AccountError::Log(LogError::Foreign)) => return Err(foreign()),
        Err(error) => return Err(error.into()),
    };
    let profiles = list(&paths.profiles())?;
    if !fits(&account, &profiles) {
        return Err(foreign());
    }
    let mut newest = None;
    for record in &profiles {
        let history = Authority::open(&paths.profiles(), record.id.as_str())?.history()?;
        newest = newest.max(history.iter().map(|record| record.time).max());
    }
    Ok((account, newest))
}

fn foreign() -> Failure {
    let message = "this key made none of the profiles here; it belongs to another account";
    Failure::new(Exit::Profile, "words_foreign", message)
        .hint("use the words of the account that made them; nothing was changed")
}

fn put(
    key: &AccountKey,
    account: &Account,
    paths: &Paths,
    source: PassphraseSource,
    set_aside: bool,
    replace: bool,
) -> Result<Recovered, Failure> {
    let mut keyring = Keyring::open(paths, source.clone());
    let mut aside = None;
    if set_aside {
        aside = keyring.set_aside(account::now())?;
        keyring = Keyring::open(paths, source.clone());
    }
    let mut known = keyring.get(Secret::AccountKey);
    if let Err(KeyringError::Sealed { source: SealedError::Damaged, .. }) = known {
        // Nothing in it can be read, by anybody: what is damaged is kept beside, and its place is free.
        aside = keyring.set_aside(account::now())?;
        keyring = Keyring::open(paths, source);
        known = Ok(None);
    }
    let already = match known {
        Ok(Some(bytes)) if bytes.as_slice() == key.expose() => true,
        // 32 bytes are a key, of whomever; anything else is damage.
        Ok(Some(bytes)) if bytes.len() == 32 && !replace => return Err(other_key(&keyring)),
        Ok(_) | Err(KeyringError::Entry(_)) => false,
        Err(KeyringError::Sealed { source: SealedError::WrongPassphrase, path }) => {
            let message = format!("{}: the passphrase is wrong", path.display());
            return Err(Failure::new(Exit::Profile, "wrong_passphrase", message).hint(
                "type it again; or, if it is forgotten, keep the key in a new sealed file: cbrowse profile key recover --set-aside",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    if !already {
        keep(&keyring, key)?;
    }
    Ok(Recovered { epoch: account.epoch(), kept_in: keyring.describe(), already, aside, newest_save: None })
}

fn other_key(keyring: &Keyring) -> Failure {
    let message = format!("{} holds another account key", keyring.describe());
    Failure::new(Exit::Profile, "other_key_kept", message).hint(
        "if that key is worth nothing to you, add --replace-key; write its recovery words down first (cbrowse profile key \
         show-recovery). Nothing was changed",
    )
}

fn report(globals: &Globals, recovered: &Recovered) -> Result<(), Failure> {
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({
            "epoch": recovered.epoch, "kept_in": recovered.kept_in, "already": recovered.already,
            "set_aside": recovered.aside, "newest_save": recovered.newest_save,
        }));
    }
    let place = &recovered.kept_in;
    output.print(&if recovered.already {
        format!("the account key is in {place} already")
    } else {
        format!("the account key is back, in {place}")
    })?;
    if let Some(aside) = &recovered.aside {
        output.note(format_args!(
            "what was there before is now {}; a login that it held is to be made again: cbrowse login",
            aside.display()
        ));
    }
    match recovered.newest_save {
        Some(time) => output.note(format_args!(
            "the newest save on this machine is of {}; a newer one may be on another device or on a node",
            date::utc(time)
        )),
        None => {
            output.note("there is no save on this machine that would show whether the words are the newest");
        }
    }
    Ok(())
}
