//! `cbrowse profile pull`: what the fleet's store holds becomes this machine's: on a second device, or after a loss.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
    time::SystemTime,
};

use cbrowse_profile::{
    account::Account,
    authority::{Authority, AuthorityError, PullError, Pulled},
    keys::ProfileKeys,
    meter::Meter,
    object::StoreError,
    pointer::Pointer,
};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::{doors::Doors, key, sync::send::Field};
use crate::{
    command::{complete, filter::Filter, login::blocking},
    context::{Globals, Paths},
    credentials::seconds,
    date,
    discover::Sources,
    failure::{Exit, Failure},
    keyring::{
        Keyring,
        passphrase::{PassphraseArgs, PassphraseSource},
    },
    profile::{
        CarryError, OpenProfile, copies,
        pull::{Offer, Offers, offers, pull},
    },
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile pull work
  cbrowse profile pull work --node fra-1
  cbrowse profile pull 0123456789abcdef0123456789abcdef --yes

A store is trusted with nothing: what it offers is signed with your own key, and a state older than
this device has seen is refused. A device that has seen nothing yet cannot know: it shows the date
and asks. Where this device has changes that no store has seen, both are kept.
";

/// Arguments of `cbrowse profile pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile, by its name or its id.
    #[arg(value_name = "NAME|ID", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// Do not ask whether a save of that date is the one you expect.
    #[arg(long)]
    pub yes: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// From which nodes.
    #[command(flatten)]
    pub filter: Filter,
}

/// Pulls.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let account = blocking(move || account(&paths, source)).await?;
    if Sources::of_settings(&globals.settings)?.private_node {
        let message = "no catalog is named, so there is no fleet to pull from";
        return Err(Failure::new(Exit::Usage, "no_catalog", message).hint("name one: --catalog URI"));
    }
    let mut doors = Doors::new(globals, &args.passphrase)?;
    let credentials = doors.fleet().await?;
    let field = Field::look(globals, &args.filter, None).await?;
    let (node, mut finalist, history) = field.best(globals, &args.filter, &doors).await?;
    let connection = &mut finalist.connection;
    let found = offers(connection, &credentials, &account).await?;
    let Offer { pointer, name, keys } = choose(&globals.paths, args, found)?;
    let (paths, told, wanted) = (globals.paths.clone(), pointer.clone(), args.yes);
    let (profile, is_new) = blocking(move || {
        let known = local(&paths, &account, &told)?;
        if !known.as_ref().is_some_and(has_seen) && !wanted {
            ask(&told)?;
        }
        known
            .map_or_else(|| receive(&paths, &name, keys).map(|made| (made, true)), |known| Ok((known, false)))
    })
    .await?;
    let profile = Arc::new(profile);
    let directory = profile.authority().directory().to_owned();
    copies::note(&directory, connection.identity(), &node).map_err(CarryError::from)?;
    let meter = Arc::new(Meter::default());
    let drawn = globals.output.follow("fetching", "objects", meter.clone());
    let pulled = pull(profile.clone(), pointer.clone(), connection, &credentials, &meter).await;
    drop(drawn);
    history.settle().await;
    doors.close().await;
    let pulled = match pulled {
        Err(error) if is_new && !is_passing(&error) => {
            forget(profile).await;
            return Err(error.into());
        }
        pulled => pulled?,
    };
    report(args, globals, &profile, &pulled, node.id.as_str())
}

fn account(paths: &Paths, source: PassphraseSource) -> Result<Account, Failure> {
    let keyring = Keyring::open(paths, source);
    key::kept_account(paths, &keyring)?.ok_or_else(|| {
        let message = format!("{} holds no account key, and what a store holds opens with nothing else", keyring.describe());
        Failure::new(Exit::Profile, "account_key_missing", message)
            .hint("bring the key here first, by the recovery words or from another device: cbrowse profile key --help")
    })
}

/// The one that is meant.
fn choose(paths: &Paths, args: &Args, offers: Offers) -> Result<Offer, Failure> {
    let local = Authority::open(&paths.profiles(), &args.name).ok();
    let id = local.as_ref().map_or(args.name.as_str(), |local| local.record().id.as_str());
    if offers.refused.iter().any(|refused| refused.as_str() == id) {
        let message =
            format!("what the store points to for profile {} is not signed with your key", args.name);
        return Err(Failure::new(Exit::Profile, "pointer_refused", message).hint(
            "use the account key with which it was made; if this is it, the store was tampered with; nothing was changed",
        ));
    }
    let known: Vec<String> = offers.own.iter().map(|offer| offer.name.to_string()).collect();
    // What this machine calls so is meant before what the store calls so.
    let is_meant = |offer: &Offer| match &local {
        Some(local) => offer.pointer.profile == local.record().id,
        None => offer.name.as_str() == args.name || offer.pointer.profile.as_str() == args.name,
    };
    let mut meant: Vec<Offer> = offers.own.into_iter().filter(is_meant).collect();
    match meant.len() {
        1 => Ok(meant.remove(0)),
        0 => {
            let message = format!("the store has no profile {:?} of yours", args.name);
            let hint = if known.is_empty() {
                "it has none at all; send one from the device that has it: cbrowse profile sync NAME"
                    .to_owned()
            } else {
                format!("it has: {}", known.join(", "))
            };
            Err(Failure::new(Exit::Profile, "not_in_store", message)
                .hint(hint)
                .details(json!({"known": known})))
        }
        _ => {
            let ids: Vec<_> = meant.iter().map(|offer| offer.pointer.profile.to_string()).collect();
            let message = format!("{} profiles of yours are called {:?}", ids.len(), args.name);
            Err(Failure::new(Exit::Usage, "ambiguous_profile", message)
                .hint(format!("name it by its id: {}", ids.join(", "))))
        }
    }
}

/// This machine's copy, if it has one. A wrong key is noticed here.
fn local(paths: &Paths, account: &Account, pointer: &Pointer) -> Result<Option<OpenProfile>, Failure> {
    let profile = match OpenProfile::of(&paths.profiles(), pointer.profile.as_str(), account) {
        Ok(profile) => profile,
        Err(AuthorityError::Unknown(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    profile.authority().check_offer(pointer)?;
    Ok(Some(profile))
}

/// Whether this device can tell an older state from a newer one.
fn has_seen(profile: &OpenProfile) -> bool {
    let authority = profile.authority();
    matches!(authority.head(), Ok(Some(_))) || matches!(authority.noted_pointer(), Ok(Some(_)))
}

/// Keys alone prove whose a save is, not that it is the newest.
fn ask(pointer: &Pointer) -> Result<(), Failure> {
    let now = seconds(SystemTime::now());
    let question = format!(
        "the store offers generation {}, saved {} ({}); this device has seen none yet, so it cannot tell whether there is a newer one",
        pointer.head.generation,
        date::utc(pointer.time),
        date::relative(now, pointer.time),
    );
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(Exit::Usage, "confirm", question)
            .hint("if that is the one you expect, add --yes")
            .details(json!({"generation": pointer.head.generation, "saved": pointer.time})));
    }
    let failed = |error: io::Error| Failure::new(Exit::Usage, "confirm", format!("cannot ask: {error}"));
    write!(io::stderr(), "{question}.\nType yes to take it: ").map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "not_confirmed", "not taken; nothing was changed"))
}

fn receive(
    paths: &Paths,
    name: &cbrowse_protocol::id::ProfileName,
    keys: ProfileKeys,
) -> Result<OpenProfile, Failure> {
    let _held = key::hold_all(paths)?;
    let made = Authority::receive(&paths.profiles(), name, &keys, seconds(SystemTime::now()));
    let authority = made.map_err(|error| match error {
        AuthorityError::Exists(_) => Failure::new(
            Exit::Profile,
            "profile_exists",
            format!("another profile of this machine is called {name}; nothing was changed"),
        )
        .hint(format!("give that one another name: cbrowse profile rename {name} NEW")),
        other => other.into(),
    })?;
    Ok(OpenProfile::new(authority, keys))
}

/// What already came is worth keeping for the next try.
fn is_passing(error: &PullError) -> bool {
    matches!(error, PullError::Store(StoreError::Remote { .. }))
}

/// Nothing was taken, so nothing is left.
async fn forget(profile: Arc<OpenProfile>) {
    let removed = blocking(move || {
        let root =
            profile.authority().directory().parent().map(std::path::Path::to_owned).unwrap_or_default();
        Ok(Authority::open(&root, profile.id().as_str())?.delete()?)
    });
    // The refusal is what is to be told.
    let _left_empty = removed.await;
}

fn report(
    args: &Args,
    globals: &Globals,
    profile: &OpenProfile,
    pulled: &Pulled,
    node: &str,
) -> Result<(), Failure> {
    let name = &profile.authority().record().name;
    if globals.output.is_json() {
        return globals.output.document(&document(args, profile, pulled, node));
    }
    globals.output.print(&match pulled {
        Pulled::Current(head) => format!("{name} is at generation {} now, from {node}", head.generation),
        Pulled::Already(head) => format!("nothing changed: generation {} is what {node} has, too", head.generation),
        Pulled::Ahead(head) => format!(
            "nothing changed: this device is ahead with generation {}; to send it: cbrowse profile sync {name}",
            head.generation
        ),
        Pulled::Merged { current, kept, .. } => format!(
            "both states are kept: what {node} had is current as generation {}, and what this device had is generation {}\n\
             to go back to that one: cbrowse profile restore {name} --at {}",
            current.generation, kept.generation, kept.generation
        ),
    })
}

fn document(args: &Args, profile: &OpenProfile, pulled: &Pulled, node: &str) -> Value {
    let (outcome, head, kept, pulled_as) = match pulled {
        Pulled::Current(head) => ("current", head, None, None),
        Pulled::Already(head) => ("already", head, None, None),
        Pulled::Ahead(head) => ("ahead", head, None, None),
        Pulled::Merged { current, kept, pulled_as } => {
            ("merged", current, Some(kept.generation), Some(pulled_as))
        }
    };
    json!({
        "profile": profile.authority().record().name,
        "asked": args.name,
        "id": profile.id(),
        "node": node,
        "outcome": outcome,
        "generation": head.generation,
        "kept_generation": kept,
        "pulled_as": pulled_as,
    })
}
