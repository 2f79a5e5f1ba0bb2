//! A sealed file, read back: as the profile it is where the account key is the same, else as a new one of this account.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use cbrowse_profile::{
    authority::{AuthorityError, HeadRef, Reverted, Reverting, list},
    bundle::BundleError,
    head::{Closing, HeadError},
    keys::ProfileKeys,
    object::copy_objects,
    restore::restore_metered,
    scan::LeftBehind,
    secret::SystemRandom,
    slot::SlotError,
    snapshot::{OpenError, Snapshot},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Args, Authority, Bundle, Failure, Globals, Meter, ProfileName, Staging, blocking, create};
use crate::{
    command::profile::{key, restore, seal::Directory, stopping::Stopping, words},
    context::Paths,
    credentials::seconds,
    date,
    failure::Exit,
    import::find::host_name,
    keyring::{Keyring, passphrase::PassphraseSource},
    output::Output,
    profile::{chain, store_trouble},
};

/// What was made of the file.
struct Read {
    name: ProfileName,
    head: HeadRef,
    saved: u64,
    files: u64,
    bytes: u64,
    outcome: Outcome,
    left: Vec<LeftBehind>,
    key_made: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The same profile, which was not on this machine.
    Received,
    /// The next generation of the profile that it is.
    Next,
    /// Its contents were current already.
    Unchanged,
    /// Another account's: sealed again as a profile of this one.
    Resealed,
    /// Nothing was made.
    Tried,
}

pub(super) async fn run(args: &Args, globals: &Globals, path: &Path) -> Result<(), Failure> {
    let reading = Reading {
        path: path.to_owned(),
        name: args.name.clone(),
        dry_run: args.dry_run,
        paths: globals.paths.clone(),
        output: globals.output.clone(),
        keys: args.passphrase.source(),
        passphrase: PassphraseSource::new(args.file_passphrase_fd),
        staging: args.staging.clone(),
        // After Ctrl-C the thread is given the time to wipe what is clear.
        stop: globals.interrupt.watch(),
    };
    let read = blocking(move || reading.run()).await?;
    report(args, globals, &read)
}

struct Reading {
    path: PathBuf,
    name: Option<ProfileName>,
    dry_run: bool,
    paths: Paths,
    output: Output,
    keys: PassphraseSource,
    passphrase: PassphraseSource,
    staging: Option<PathBuf>,
    stop: CancellationToken,
}

impl Reading {
    fn run(self) -> Result<Read, Failure> {
        let meter = Arc::new(Meter::default());
        let drawn = self.output.follow("checking", "objects", meter.clone());
        let bundle = Bundle::open(&self.path, &meter).map_err(|error| failure(&error))?;
        drop(drawn);
        let keyring = Keyring::open(&self.paths, self.keys.clone());
        // Where nothing was ever kept, nobody is asked for a passphrase only to learn that.
        let places = crate::keyring::Places::of(&self.paths);
        let account = if places.is_empty() { None } else { key::kept_account(&self.paths, &keyring)? };
        if let Some(account) = &account {
            let keys = ProfileKeys::of(account, bundle.profile());
            if let Some(snapshot) = own(&bundle, &keys)? {
                return self.take_in(&bundle, &keys, &snapshot);
            }
        }
        self.seal_again(&bundle)
    }

    /// The account key opens it, or one that it had before a rotation: what was sealed with that is sealed again.
    fn take_in(&self, bundle: &Bundle, keys: &ProfileKeys, snapshot: &Snapshot) -> Result<Read, Failure> {
        let known = list(&self.paths.profiles())?.into_iter().find(|record| record.id == *bundle.profile());
        let name = match (&known, &self.name) {
            (Some(record), Some(name)) if record.name != *name => return Err(another(&record.name, name)),
            (Some(record), _) => record.name.clone(),
            (None, Some(name)) => name.clone(),
            (None, None) => return Err(nameless()),
        };
        if known.is_none() {
            key::check_free(&self.paths, &name)?;
        }
        let own = HeadRef { generation: snapshot.head().generation, name: snapshot.name() };
        if self.dry_run {
            return Ok(read(name, own, snapshot, Outcome::Tried));
        }
        if known.is_none() {
            let _held = key::hold_all(&self.paths)?;
            let now = seconds(SystemTime::now());
            let authority = Authority::unpack(&self.paths.profiles(), &name, keys, snapshot, bundle, now)?;
            key::bring_up(&authority, keys)?;
            let head = authority.head()?.unwrap_or(own);
            return Ok(read(name, head, snapshot, Outcome::Received));
        }
        let authority = Authority::open(&self.paths.profiles(), bundle.profile().as_str())?;
        if authority.record().verifying_key != keys.verifying_key() {
            return Err(AuthorityError::EarlierEpoch(name).into());
        }
        copy_objects(&snapshot.objects(), bundle, authority.store()).map_err(AuthorityError::from)?;
        let by = Reverting { now: seconds(SystemTime::now()), device: host_name() };
        let upon = authority.head()?;
        let reverted = authority.revert(snapshot, upon.as_ref(), keys, &by, &mut SystemRandom);
        match reverted.map_err(restore::failure)? {
            Reverted::Current(head) => Ok(read(name, head, snapshot, Outcome::Next)),
            Reverted::Unchanged(head) => Ok(read(name, head, snapshot, Outcome::Unchanged)),
        }
    }

    /// The passphrase inside opens it: restored in memory, and sealed as a profile of this account.
    fn seal_again(&self, bundle: &Bundle) -> Result<Read, Failure> {
        if !bundle.takes_passphrase() {
            return Err(failure(&BundleError::NoPassphrase));
        }
        let name = self.name.clone().ok_or_else(nameless)?;
        key::check_free(&self.paths, &name)?;
        let passphrase = self.passphrase.get(&self.path, false).map_err(|error| {
            Failure::new(
                Exit::Profile,
                "no_passphrase",
                format!("{} needs its passphrase: {error}", self.path.display()),
            )
            .hint("run this at a terminal to be asked, or give it: --file-passphrase-fd N")
        })?;
        let access = bundle.access(&passphrase).map_err(|error| failure(&error))?;
        let snapshot = bundle.snapshot(&access).map_err(|error| opening(&error))?;
        check_exact(bundle, &snapshot)?;
        if self.dry_run {
            let head = HeadRef { generation: snapshot.head().generation, name: snapshot.name() };
            return Ok(read(name, head, &snapshot, Outcome::Tried));
        }
        let staging = Staging::make(self.staging.as_deref(), snapshot.head().bytes)?;
        if !staging.is_in_memory() {
            self.output.warn(format_args!(
                "{} is on a disk: until the profile is sealed, it lies there in the clear; it is wiped afterwards",
                staging.path().display()
            ));
        }
        let meter = Arc::new(Meter::default());
        let drawn = self.output.follow("opening", "files", meter.clone());
        let from = Stopping { behind: bundle, stop: &self.stop };
        let restored = restore_metered(&snapshot, &from, &staging.data(), &meter).map_err(|error| {
            let (code, hint) = store_trouble(&error);
            Failure::new(Exit::Profile, code, format!("{}; nothing was imported", chain(&error))).hint(hint)
        });
        let restored = from.or_interrupted(restored)?;
        drop(drawn);
        let made = create::make(&self.paths, self.keys.clone(), &name)?;
        let crashed = snapshot.head().closing == Closing::Crash;
        let directory = Directory::made(staging.data(), self.path.clone(), crashed);
        let into = Stopping { behind: made.profile.authority().store(), stop: &self.stop };
        let sealed = into.or_interrupted(directory.seal_through(&made.profile, &into, &self.output));
        let sealed = sealed.map_err(|failure| create::undo(&self.paths, &name, failure))?;
        let head = sealed.head.unwrap_or(HeadRef { generation: 1, name: snapshot.name() });
        let key_made = made.key_made.then_some(made.key_place);
        Ok(Read { left: restored.stripped, key_made, ..read(name, head, &snapshot, Outcome::Resealed) })
    }
}

fn read(name: ProfileName, head: HeadRef, snapshot: &Snapshot, outcome: Outcome) -> Read {
    let from = snapshot.head();
    let (saved, files, bytes) = (from.time, from.files, from.bytes);
    Read { name, head, saved, files, bytes, outcome, left: Vec::new(), key_made: None }
}

/// `None` where another account sealed it. A file of before a rotation opens with the key of then.
fn own(bundle: &Bundle, keys: &ProfileKeys) -> Result<Option<Snapshot>, Failure> {
    for epoch in keys.epochs() {
        match bundle.snapshot(&epoch.access()) {
            Ok(snapshot) => return check_exact(bundle, &snapshot).map(|()| Some(snapshot)),
            Err(OpenError::Head(HeadError::WrongKey)) => {}
            Err(error) => return Err(opening(&error)),
        }
    }
    Ok(None)
}

fn check_exact(bundle: &Bundle, snapshot: &Snapshot) -> Result<(), Failure> {
    if bundle.is_exactly(snapshot) { Ok(()) } else { Err(failure(&BundleError::Objects)) }
}

fn opening(error: &OpenError) -> Failure {
    let message = format!("the sealed file does not open: {}", chain(error));
    Failure::new(Exit::Profile, "sealed_file_damaged", message)
        .hint("take another copy of the file, or export it again; nothing was changed")
}

fn failure(error: &BundleError) -> Failure {
    let message = chain(error);
    let failed = |code| Failure::new(Exit::Profile, code, message.clone());
    match error {
        BundleError::NotABundle => {
            failed("no_sealed_file").hint("name a file that cbrowse profile export --sealed wrote, a browser, or its directory")
        }
        BundleError::Version(_) => failed("sealed_file_newer").hint("update cbrowse; nothing was changed"),
        BundleError::NoPassphrase => failed("wrong_key").hint(
            "import it with the account key that sealed it; or export it there again with --passphrase; nothing was changed",
        ),
        BundleError::Slot(SlotError::WrongPassphrase) => {
            failed("wrong_passphrase").hint("type it again, or correct what --file-passphrase-fd reads; nothing was changed")
        }
        BundleError::Disk { source, .. } => {
            let (code, hint) = store_trouble(source);
            failed(code).hint(hint)
        }
        _ => failed("sealed_file_damaged")
            .hint("take another copy of the file, or export it again; nothing was changed"),
    }
}

fn another(is: &ProfileName, asked: &ProfileName) -> Failure {
    let message = format!("the sealed file is of profile {is}, which is on this machine, and not of {asked}");
    Failure::new(Exit::Profile, "another_profile", message).hint(format!(
        "to make it the next generation of {is}: cbrowse profile import {is} --from FILE; nothing was changed"
    ))
}

fn nameless() -> Failure {
    Failure::new(Exit::Usage, "no_name", "a sealed file does not say what its profile is called")
        .hint("name it: cbrowse profile import NAME --from FILE")
}

fn report(args: &Args, globals: &Globals, read: &Read) -> Result<(), Failure> {
    let output = &globals.output;
    let Read { name, head, saved, files, bytes, outcome, left, key_made } = read;
    if output.is_json() {
        let outcome = match outcome {
            Outcome::Received => "received",
            Outcome::Next => "next_generation",
            Outcome::Unchanged => "unchanged",
            Outcome::Resealed => "resealed",
            Outcome::Tried => "dry_run",
        };
        return output.document(&json!({
            "profile": name, "generation": head.generation, "outcome": outcome, "dry_run": args.dry_run, "saved": saved,
            "files": files, "bytes": bytes, "left_behind": left, "key_made": key_made.is_some(),
        }));
    }
    let what =
        format!("{}, {}, saved {}", words::count(*files, "file"), words::size(*bytes), date::utc(*saved));
    let generation = head.generation;
    output.print(&match outcome {
        Outcome::Received => format!("profile {name} is on this machine now, as generation {generation}: {what}"),
        Outcome::Next => format!("generation {generation} of profile {name} is what the file holds: {what}"),
        Outcome::Unchanged => format!("profile {name} holds this already, as generation {generation}: {what}"),
        Outcome::Resealed => {
            format!("the file was sealed by another account; profile {name} is made of it, sealed with yours: {what}")
        }
        Outcome::Tried => format!("the file is whole, and opens: {what}; this was a dry run, nothing was changed"),
    })?;
    if *outcome == Outcome::Received {
        output.note("a file cannot tell whether it is the newest: look at its date");
    }
    words::tell_left_behind(output, left);
    if let Some(place) = key_made {
        create::tell_key(output, place);
    }
    Ok(())
}
