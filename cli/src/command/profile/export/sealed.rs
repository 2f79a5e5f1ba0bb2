//! `cbrowse profile export --sealed`: one version as one file of ciphertext.

use std::{
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use cbrowse_profile::{
    authority::HeadRecord,
    bundle::{BundleError, Bundled, Passphrase, write_bundle},
    meter::Meter,
    object::ObjectStore,
    secret::SystemRandom,
    slot::Cost,
};
use serde_json::json;

use super::{super::words, Args, pick};
use crate::{
    command::{
        login::blocking,
        profile::{key, stopping::Stopping},
    },
    context::Globals,
    failure::{Exit, Failure},
    keyring::passphrase::{PassphraseError, PassphraseSource},
    output::Output,
    profile::{OpenProfile, chain, store_trouble},
};

/// Bytes that are written at once.
const BUFFER: usize = 1024 * 1024;

pub(super) async fn run(args: &Args, globals: &Globals, file: &Path) -> Result<(), Failure> {
    check_absent(file)?;
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let (path, at, dry_run, output) =
        (file.to_owned(), args.at.clone(), args.dry_run, globals.output.clone());
    let takes_passphrase = args.with_passphrase || args.file_passphrase_fd.is_some();
    let passphrase = takes_passphrase.then(|| PassphraseSource::new(args.file_passphrase_fd));
    let stop = globals.interrupt.watch();
    let (record, bundled) = blocking(move || {
        let profile = key::open(&paths, source, &name)?;
        let record = pick(&profile, &name, at)?;
        let store = Stopping { behind: profile.authority().store(), stop: &stop };
        let write = || write(&profile, &store, &record, &path, passphrase.as_ref(), &output);
        let bundled = if dry_run { None } else { Some(store.or_interrupted(write())?) };
        Ok((record, bundled))
    })
    .await?;
    report(args, globals, file, &record, bundled, takes_passphrase)
}

fn check_absent(file: &Path) -> Result<(), Failure> {
    if file.symlink_metadata().is_ok() {
        let message = format!("{} is there already", file.display());
        return Err(Failure::new(Exit::Profile, "file_exists", message)
            .hint("name a file that is not there yet; nothing was written"));
    }
    Ok(())
}

/// Written beside, flushed, then given its name if nothing has taken it meanwhile: there in full or not at all.
fn write(
    profile: &OpenProfile,
    store: &dyn ObjectStore,
    record: &HeadRecord,
    path: &Path,
    passphrase: Option<&PassphraseSource>,
    output: &Output,
) -> Result<Bundled, Failure> {
    let text =
        passphrase.map(|source| source.get(path, true)).transpose().map_err(|error| no_passphrase(&error))?;
    let passphrase = text.as_ref().map(|text| Passphrase { text, cost: Cost::default() });
    let snapshot = profile.authority().snapshot_at(&record.head.name, profile.keys())?;
    let failed = |error: io::Error| failure(path, &error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    let parent: PathBuf = absolute.parent().unwrap_or(&absolute).to_owned();
    let beside = tempfile::Builder::new().prefix(".cbrowse-export-").tempfile_in(&parent).map_err(failed)?;
    let meter = Arc::new(Meter::default());
    let drawn = output.follow("writing", "objects", meter.clone());
    let mut out = BufWriter::with_capacity(BUFFER, beside.as_file());
    let bundled =
        write_bundle(&snapshot, profile.keys(), store, passphrase, &mut out, &meter, &mut SystemRandom)
            .map_err(|error| bundle_failure(path, &error))?;
    out.flush().map_err(failed)?;
    drop(out);
    drop(drawn);
    beside.as_file().sync_all().map_err(failed)?;
    beside.persist_noclobber(&absolute).map_err(|error| failed(error.error))?;
    std::fs::File::open(&parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    Ok(bundled)
}

fn no_passphrase(error: &PassphraseError) -> Failure {
    Failure::new(Exit::Profile, "no_passphrase", format!("the sealed file needs a passphrase: {error}"))
        .hint("run this at a terminal to be asked, or give it: --file-passphrase-fd N; nothing was written")
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return check_absent(path)
            .err()
            .unwrap_or_else(|| Failure::new(Exit::Profile, "file_exists", error.to_string()));
    }
    let (code, hint) = store_trouble(error);
    Failure::new(Exit::Profile, code, format!("write {}: {error}; nothing is left of it", path.display()))
        .hint(hint)
}

fn bundle_failure(path: &Path, error: &BundleError) -> Failure {
    let (code, hint) = store_trouble(error);
    Failure::new(
        Exit::Profile,
        code,
        format!("write {}: {}; nothing is left of it", path.display(), chain(error)),
    )
    .hint(hint)
}

fn report(
    args: &Args,
    globals: &Globals,
    file: &Path,
    record: &HeadRecord,
    bundled: Option<Bundled>,
    takes_passphrase: bool,
) -> Result<(), Failure> {
    let output = &globals.output;
    let generation = record.head.generation;
    if output.is_json() {
        return output.document(&json!({
            "profile": args.name, "generation": generation, "kept_as": record.kept_as, "sealed": file,
            "dry_run": args.dry_run, "passphrase": takes_passphrase, "files": record.files, "bytes": record.bytes,
            "objects": bundled.map(|bundled| bundled.objects), "sealed_bytes": bundled.map(|bundled| bundled.bytes),
        }));
    }
    let what = format!("{}, {}", words::count(record.files, "file"), words::size(record.bytes));
    let Some(bundled) = bundled else {
        return output.print(&format!("would seal generation {generation} in {}: {what}", file.display()));
    };
    let size = words::size(bundled.bytes);
    output.print(&format!("generation {generation} is sealed in {}, {size}: {what}", file.display()))?;
    output.note(if takes_passphrase {
        "it opens with your account key, and for whoever is told the passphrase"
    } else {
        "it opens with your account key alone"
    });
    Ok(())
}
