//! Where secrets are kept, and whose token is among them. Nobody is asked for anything: what would need a person's word is
//! skipped and named.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::SystemTime};

use cbrowse_protocol::token::Credential;
use serde_json::json;

use super::{
    Args,
    finding::{Check, Finding},
};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    credentials::{self, Credentials, TOKEN_VARIABLE, seconds},
    date,
    discover::Sources,
    failure::Failure,
    keyring::{
        Keyring, Places, ServiceError,
        passphrase::PassphraseSource,
        trial::{Trial, try_out},
    },
};

/// A token that ends sooner is worth a warning: asking its operator takes a while.
const SOON: u64 = 3600;

/// What was found about the keyring decides whether the login can be looked at.
struct World {
    paths: Paths,
    passphrase: PassphraseSource,
    token: Option<String>,
    /// Whether `connect` needs a token.
    needs_login: bool,
}

/// Looks at the keyring, then at the login in it.
pub(super) async fn check(args: &Args, globals: &Globals) -> Vec<Finding> {
    let sources = Sources::of_settings(&globals.settings);
    let world = World {
        paths: globals.paths.clone(),
        passphrase: args.passphrase.source(),
        token: std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.trim().is_empty()),
        needs_login: sources.is_ok_and(|sources| !sources.private_node),
    };
    let looked = blocking(move || Ok(look(world))).await;
    looked.unwrap_or_else(|failure| vec![Finding::skipped(Check::Keyring, failure.message)])
}

fn look(world: World) -> Vec<Finding> {
    let places = Places::of(&world.paths);
    let tried = if places.is_sealed() { None } else { Some(try_out()) };
    let kept = keyring(&places, tried.as_ref());
    // In the file with its passphrase at hand, or in a keyring that is open.
    let opens = if places.is_sealed() {
        world.passphrase.is_given()
    } else {
        matches!(tried, Some(Ok(Trial::Works)))
    };
    vec![kept, login(world, opens, places.is_empty())]
}

fn keyring(places: &Places, tried: Option<&Result<Trial, ServiceError>>) -> Finding {
    let file = places.sealed_file();
    let Some(tried) = tried else { return sealed(file) };
    let fallback = format!("secrets will be sealed under a passphrase in {}", file.display());
    let finding = match (tried, places.is_in_keyring()) {
        (Ok(Trial::Works), _) => Finding::ok(
            Check::Keyring,
            "the desktop's keyring answers; a probe entry was written, read and removed",
        ),
        (Ok(Trial::Locked), _) => Finding::warning(
            Check::Keyring,
            "the desktop's keyring answers, and is locked",
            "unlock it (it asks when cbrowse next needs a secret), then: cbrowse doctor --only keyring",
        ),
        (Ok(Trial::Absent), true) | (Err(_), true) => Finding::problem(
            Check::Keyring,
            format!("your keys are in the desktop's keyring, and it does not answer{}", because(tried)),
            "log in to the desktop that runs it, or start it: gnome-keyring-daemon --start --components=secrets",
        ),
        (Ok(Trial::Absent), false) => Finding::warning(
            Check::Keyring,
            format!("the desktop's keyring answers, and has no collection to keep anything in; {fallback}"),
            "make a login keyring with a keyring tool (seahorse, kwalletmanager)",
        ),
        (Err(error @ (ServiceError::Failed(_) | ServiceError::Ambiguous(_))), false) => Finding::problem(
            Check::Keyring,
            format!("the desktop's keyring answers, and keeps nothing: {error}"),
            "restart it, or keep keys in a sealed file: --passphrase-fd N",
        ),
        (Err(error), false) => Finding::warning(
            Check::Keyring,
            format!("no keyring answers ({error}); {fallback}"),
            "run a Secret Service keyring (gnome-keyring, KWallet) to be asked less often; scripts give --passphrase-fd N",
        ),
    };
    finding.details(json!({"service": service_name(tried), "in_keyring": places.is_in_keyring()}))
}

fn because(tried: &Result<Trial, ServiceError>) -> String {
    tried.as_ref().err().map(|error| format!(" ({error})")).unwrap_or_default()
}

fn service_name(tried: &Result<Trial, ServiceError>) -> &'static str {
    match tried {
        Ok(Trial::Works) => "works",
        Ok(Trial::Locked) => "locked",
        Ok(Trial::Absent) => "no_collection",
        Err(ServiceError::Failed(_) | ServiceError::Ambiguous(_)) => "failed",
        Err(_) => "absent",
    }
}

fn sealed(file: &Path) -> Finding {
    let shown = file.display();
    let mode = std::fs::metadata(file).map(|metadata| metadata.permissions().mode() & 0o7777);
    let finding = match &mode {
        Ok(mode) if *mode & 0o077 != 0 => Finding::problem(
            Check::Keyring,
            format!("secrets are sealed in {shown}, and its mode {mode:04o} lets others read it"),
            format!("chmod 600 {shown}"),
        ),
        Ok(mode) => Finding::ok(
            Check::Keyring,
            format!("secrets are sealed under a passphrase in {shown} (mode {mode:04o})"),
        ),
        Err(error) => Finding::problem(
            Check::Keyring,
            format!("secrets are sealed in {shown}, which cannot be looked at: {error}"),
            "restore it from a backup; no new key is made in its place",
        ),
    };
    finding.details(json!({"sealed_file": file, "mode": mode.ok().map(|mode| format!("{mode:04o}"))}))
}

fn login(world: World, opens: bool, is_empty: bool) -> Finding {
    let World { paths, passphrase, token, needs_login } = world;
    let brings_its_key = token
        .as_deref()
        .map(|text| Credential::parse(text).map_or(true, |credential| credential.seed().is_some()));
    if !opens && !brings_its_key.unwrap_or(is_empty && token.is_none()) {
        let found = "your secrets are not open, so the login in them was not looked at";
        return Finding::skipped(Check::Login, found).mend("cbrowse whoami");
    }
    let found = if token.is_none() && is_empty && !opens {
        Err(credentials::not_logged_in())
    } else {
        credentials::find(token.as_deref(), || Keyring::open(&paths, passphrase), SystemTime::now())
    };
    judge_login(found.map(|(credentials, _)| credentials), needs_login, seconds(SystemTime::now()))
}

fn judge_login(found: Result<Credentials, Failure>, needs_login: bool, now: u64) -> Finding {
    match found {
        Ok(credentials) => {
            let claims = credentials.claims();
            let left = date::relative(now, claims.exp);
            let user = cbrowse_protocol::node::printable(&claims.sub, 64);
            let found = format!("{user}, until {} ({left})", date::utc(claims.exp));
            let details = json!({"user": user, "expires": claims.exp});
            if claims.exp.saturating_sub(now) < SOON {
                let mend =
                    "ask the operator for a new token (cbrowse-node token), then: cbrowse login --with-token";
                return Finding::warning(Check::Login, found, mend).details(details);
            }
            Finding::ok(Check::Login, found).details(details)
        }
        Err(failure) if failure.code == "not_logged_in" && !needs_login => {
            Finding::skipped(Check::Login, "nobody is logged in, and a private node needs no login")
        }
        Err(failure) => {
            let mend = failure.hint.unwrap_or_else(|| "cbrowse whoami".to_owned());
            Finding::problem(Check::Login, failure.message, mend).details(json!({"code": failure.code}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn places(in_keyring: bool) -> (tempfile::TempDir, Places) {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        std::fs::create_dir_all(&paths.data).expect("a directory");
        if in_keyring {
            std::fs::write(paths.data.join("secrets.in-keyring"), "x").expect("written");
        }
        let places = Places::of(&paths);
        (directory, places)
    }

    #[test]
    fn a_keyring_that_is_gone_is_a_problem_only_when_it_holds_the_keys() {
        let absent = || Err(ServiceError::Unreachable("no bus".into()));
        for (tried, in_keyring, state) in [
            (absent(), false, State::Warning),
            (absent(), true, State::Problem),
            (Ok(Trial::Absent), true, State::Problem),
            (Ok(Trial::Absent), false, State::Warning),
            (Ok(Trial::Locked), true, State::Warning),
            (Ok(Trial::Works), true, State::Ok),
            (Err(ServiceError::Failed("full".into())), false, State::Problem),
        ] {
            let (_directory, places) = places(in_keyring);
            assert_eq!(keyring(&places, Some(&tried)).state, state, "{tried:?} {in_keyring}");
        }
    }

    #[test]
    fn a_sealed_file_is_its_owners_alone() {
        let (directory, _) = places(false);
        let paths = Paths::below(directory.path());
        let file = paths.data.join("secrets.sealed");
        std::fs::write(&file, "x").expect("written");
        for (mode, state) in [(0o600, State::Ok), (0o640, State::Problem), (0o604, State::Problem)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
            let finding = keyring(&Places::of(&paths), None);
            assert_eq!(finding.state, state, "{mode:o}");
            assert!(state == State::Ok || finding.mend.is_some_and(|mend| mend.starts_with("chmod 600 ")));
        }
    }

    #[test]
    fn without_a_login_only_a_catalog_is_short_of_one() {
        let none = || Err(credentials::not_logged_in());
        assert_eq!(judge_login(none(), false, 0).state, State::Skipped);
        assert_eq!(judge_login(none(), true, 0).state, State::Problem);
    }
}
