//! `cbrowse profile import --list`: the browsers' profiles on this machine.

use serde_json::json;

use crate::{
    command::{
        login::blocking,
        nodes::table::{Align, Table},
    },
    context::Globals,
    date,
    failure::Failure,
    import::find::{Found, Home, size},
    words,
};

/// Lists.
pub(super) async fn run(globals: &Globals) -> Result<(), Failure> {
    let found: Vec<(Found, u64)> = blocking(|| {
        let all = Home::of_user().map(|home| home.all()).unwrap_or_default();
        Ok(all.into_iter().map(|found| (found.clone(), size(&found))).collect())
    })
    .await?;
    let output = &globals.output;
    if output.is_json() {
        let documents: Vec<_> = found
            .iter()
            .map(|(found, bytes)| {
                json!({
                    "browser": found.browser, "channel": found.channel, "directory": found.directory,
                    "profile": found.profile, "name": found.name, "last_used": found.last_used,
                    "running": found.running, "bytes": bytes,
                })
            })
            .collect();
        return output.document(&documents);
    }
    if found.is_empty() {
        output.note("no profile of Chrome, Chromium, Brave or Edge is on this machine; a directory can be named: --from PATH");
        return Ok(());
    }
    output.print(&table(&found).render(output))?;
    output.note("import one: cbrowse profile import NAME --from BROWSER --profile PROFILE");
    Ok(())
}

fn table(all: &[(Found, u64)]) -> Table {
    let mut table = Table::new(&[
        ("BROWSER", Align::Left),
        ("CHANNEL", Align::Left),
        ("PROFILE", Align::Left),
        ("NAME", Align::Left),
        ("SIZE", Align::Right),
        ("LAST USED", Align::Left),
        ("", Align::Left),
    ]);
    for (found, bytes) in all {
        table.row(
            None,
            vec![
                found.browser.map_or("", |browser| browser.name()).into(),
                found.channel.into(),
                found.profile.clone(),
                found.name.clone().unwrap_or_default(),
                words::size(*bytes),
                found.last_used.map_or_else(|| "-".into(), date::utc),
                if found.running { "running" } else { "" }.into(),
            ],
        );
    }
    table
}
