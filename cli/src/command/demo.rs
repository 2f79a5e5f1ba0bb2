//! `cbrowse demo`: the main job on this machine alone. Three real nodes, a fleet, a profile, a picture, and a node that dies.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cbrowse_profile::{authority::Authority, keys::AccountKey, secret::SystemRandom};
use cbrowse_protocol::{
    api::SessionRequest,
    id::NodeId,
    identity::{IdentityKey, SigningKey},
    statement::Statement,
    token::{Claims, Credential, Scopes},
    wire::{NodeMessage, Viewport},
};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::nodes::probe::table::{self, Look};
use crate::{
    attach::{
        finalist::Judge,
        journey::{Journey, Plan},
        session::Seen,
    },
    context::{Globals, Paths},
    credentials::{Credentials, seconds},
    discover,
    failure::{Exit, Failure},
    local::{self, OwnNode},
    outcome::{Document, Row},
    output::Style,
    profile::{OpenProfile, chain},
    select::{self, Constraints, Strategy},
    settings::{Flags, Settings},
    survey::Probing,
    trust::TrustStore,
    view::{
        Delivery, Hub,
        none::{self, Shot},
    },
    words::{count, size},
};

/// The fleet of the demonstration.
const NODES: [(&str, &str); 3] = [("eu-1", "eu-central"), ("us-1", "us-east"), ("ap-1", "ap-south")];
/// How long its keys and statements hold.
const LIFETIME: u64 = 3600;
/// A save of a fresh profile takes well under a second.
const SAVE_PATIENCE: Duration = Duration::from_secs(30);
/// Nodes save and end by themselves.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// From a killed node to the page on the next one, Chromium's cold start on a busy machine included.
const MOVE_DEADLINE: Duration = Duration::from_secs(60);
const VIEWPORT: Viewport = Viewport { width: 1280, height: 720, scale: 1.0 };

/// Arguments of `cbrowse demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the pictures go; without it, to cbrowse's own data directory.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}

/// Runs it; leaves nothing but the pictures.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let started = Instant::now();
    let pictures = args.pictures.clone().unwrap_or_else(|| globals.paths.data.join("demo"));
    std::fs::create_dir_all(&pictures)
        .map_err(|error| failed(&format!("make {}", pictures.display()), &error))?;
    let stage = Stage::set(globals).await?;
    let played = stage.play(&pictures).await;
    stage.clear().await;
    let facts = played?;
    if globals.output.is_json() {
        return globals.output.document(&facts.to_json(&pictures, started.elapsed()));
    }
    globals.output.print(&format!(
        "\nDone in {:.1} s; nothing is left running. Pictures: {}\nTry it yourself:  cbrowse connect\n  \
         starts a private node on this machine and opens the viewer page in your browser; Ctrl-C ends it.",
        started.elapsed().as_secs_f64(),
        pictures.display()
    ))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Configuration, "demo", format!("cannot {what}: {error}"))
}

struct Facts {
    chosen: NodeId,
    first_picture: Duration,
    /// The node of the second visit; not always that of the first.
    killed: NodeId,
    moved_to: NodeId,
    moved_in: Duration,
    sealed_bytes: u64,
}

/// What the second visit came to.
struct Return {
    killed: NodeId,
    moved_in: Duration,
    moved_to: NodeId,
    sealed_bytes: u64,
}

impl Facts {
    fn to_json(&self, pictures: &Path, elapsed: Duration) -> serde_json::Value {
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
        serde_json::json!({
            "node": self.chosen, "first_picture_ms": ms(self.first_picture), "killed": self.killed, "moved_to": self.moved_to,
            "moved_ms": ms(self.moved_in), "sealed_bytes": self.sealed_bytes, "pictures": pictures, "elapsed_ms": ms(elapsed),
        })
    }
}

/// Everything that the demonstration needs, under one directory that goes with it.
struct Stage<'a> {
    globals: Globals,
    outer: &'a Globals,
    nodes: tokio::sync::Mutex<Vec<OwnNode>>,
    credentials: Arc<Credentials>,
    profile: Arc<OpenProfile>,
    directory: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    async fn set(outer: &'a Globals) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("cbrowse-demo-").tempdir();
        let directory =
            directory.map_err(|error| failed("make a directory for the demonstration", &error))?;
        // Nodes started as root become another user, who has to find their own directories in here.
        open_for_nodes(directory.path())?;
        let (fleet, issuer) = (SigningKey::generate(), SigningKey::generate());
        tell(
            outer,
            "1. Nodes: three on this machine, each with an identity that the demo's fleet key signs",
        )?;
        let plans = try_join_all(
            NODES.iter().map(|(id, region)| plan(directory.path(), id, region, &fleet, &issuer)),
        )
        .await?;
        let nodes = try_join_all(plans.iter().map(OwnNode::start)).await?;
        for node in &nodes {
            let record = &node.record;
            tell(outer, format_args!("   {:<5} {:<11} {}", record.id, record.region, record.endpoint()))?;
        }
        let globals = inner_globals(outer, directory.path(), &nodes, &fleet.public())?;
        let profile = make_profile(&globals.paths)?;
        let credentials = Arc::new(make_credentials(&issuer)?);
        Ok(Self {
            globals,
            outer,
            nodes: tokio::sync::Mutex::new(nodes),
            credentials,
            profile: Arc::new(profile),
            directory,
        })
    }

    async fn clear(self) {
        let nodes = self.nodes.into_inner();
        futures_util::future::join_all(nodes.into_iter().map(|node| node.end(END_PATIENCE))).await;
        drop(self.directory);
    }

    fn print(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        tell(self.outer, text)
    }

    async fn play(&self, pictures: &Path) -> Result<Facts, Failure> {
        let (first_picture, chosen) = self.first_visit(&pictures.join("1-first-visit.png")).await?;
        let Return { killed, moved_in, moved_to, sealed_bytes } = self.second_visit(pictures).await?;
        Ok(Facts { chosen, first_picture, killed, moved_to, moved_in, sealed_bytes })
    }

    async fn journey(&self) -> Result<Journey<'_>, Failure> {
        let listing = discover::discover(&self.globals).await?;
        let plan = Plan {
            listing,
            judge: Judge::of(&self.globals)?,
            constraints: Constraints::default(),
            strategy: Strategy::default(),
            probing: Probing::default(),
            // What a demonstration finds out ends with its nodes.
            history: None,
            request: SessionRequest { viewport: VIEWPORT, ..SessionRequest::default() },
            profile: Some(self.profile.clone()),
            credentials: self.credentials.clone(),
        };
        Ok(Journey::new(plan, &self.globals.paths, &self.globals.output))
    }

    /// Probe, pick, attach, picture; then the profile comes home.
    async fn first_visit(&self, picture: &Path) -> Result<(Duration, NodeId), Failure> {
        self.print("2. Choice: every node probed from here, the best one picked here")?;
        let started = Instant::now();
        let mut journey = self.journey().await?;
        let attachment = journey.begin().await?;
        self.show_choice(&journey)?;
        let node = attachment.node.clone();
        self.print(format_args!(
            "3. Session: Chromium {} on {node}, in its own namespaces",
            attachment.browser_version
        ))?;
        let mut seen = Seen::default();
        let (hub, mut inputs) = Hub::new();
        let end = CancellationToken::new();
        let shot = Shot { path: picture.to_owned(), full_page: false };
        let (arrival, shown) =
            tokio::join!(journey.travel(attachment, &hub, &mut inputs, &mut seen, &end), async {
                let shown = none::watch(&hub, VIEWPORT, Some(&shot)).await;
                end.cancel();
                shown
            });
        arrival?;
        shown.map_err(|error| failed("take the first picture", &error))?;
        let first = seen.first_picture.map_or(Duration::ZERO, |at| at.duration_since(started));
        self.print(format_args!("   first picture after {} ms: {}", first.as_millis(), picture.display()))?;
        let settled = journey.settle(SAVE_PATIENCE).await?;
        if let Some(refused) = settled.as_ref().and_then(|settled| settled.refused.first()) {
            return Err(failed("take the profile home", &chain(&refused.error)));
        }
        let generation = settled.and_then(|settled| settled.current).map_or(0, |head| head.generation);
        self.print(format_args!(
            "4. Profile: sealed by {node}'s worker, checked and signed here as generation {generation}"
        ))?;
        Ok((first, node))
    }

    /// The profile travels; its node dies; the session goes on elsewhere.
    async fn second_visit(&self, pictures: &Path) -> Result<Return, Failure> {
        let mut journey = self.journey().await?;
        let attachment = journey.begin().await?;
        let node = attachment.node.clone();
        let sent = journey.uploaded.unwrap_or_default();
        self.print(format_args!(
            "5. Return: profile sealed for {node} alone; {}, {} sent",
            count(sent.objects, "object"),
            size(sent.bytes)
        ))?;
        let mut seen = Seen::default();
        let (hub, mut inputs) = Hub::new();
        let end = CancellationToken::new();
        let (arrival, moved) =
            tokio::join!(journey.travel(attachment, &hub, &mut inputs, &mut seen, &end), async {
                let moved = self.lose_node(&hub, &node, pictures).await;
                end.cancel();
                moved
            });
        arrival?;
        let (moved_in, moved_to) = moved?;
        // The save of the second visit is real, and is taken home like any other.
        let _already_reported = journey.settle(SAVE_PATIENCE).await;
        Ok(Return { killed: node, moved_in, moved_to, sealed_bytes: sent.bytes })
    }

    async fn lose_node(
        &self,
        hub: &Hub,
        node: &NodeId,
        pictures: &Path,
    ) -> Result<(Duration, NodeId), Failure> {
        let before = Shot { path: pictures.join("2-second-visit.png"), full_page: false };
        none::watch(hub, VIEWPORT, Some(&before))
            .await
            .map_err(|error| failed("take the second picture", &error))?;
        self.print(format_args!("   the page remembers: {}", before.path.display()))?;
        self.print(format_args!("6. Failure: {node} is killed (SIGKILL)"))?;
        let killed = Instant::now();
        let arrived = moved(hub, node);
        self.kill(node).await;
        let moved_to = tokio::time::timeout(MOVE_DEADLINE, arrived)
            .await
            .map_err(|_| failed("carry on elsewhere", &"no other node took the session in time"))??;
        let moved_in = killed.elapsed();
        let after = Shot { path: pictures.join("3-after-the-loss.png"), full_page: false };
        none::watch(hub, VIEWPORT, Some(&after))
            .await
            .map_err(|error| failed("take the third picture", &error))?;
        self.print(format_args!(
            "   carried on at {moved_to} after {} ms, with cookie and tab: {}",
            moved_in.as_millis(),
            after.path.display()
        ))?;
        Ok((moved_in, moved_to))
    }

    async fn kill(&self, id: &NodeId) {
        for node in self.nodes.lock().await.iter_mut().filter(|node| node.record.id == *id) {
            node.kill().await;
        }
    }

    fn show_choice(&self, journey: &Journey<'_>) -> Result<(), Failure> {
        let Some(surveyed) = &journey.surveyed else { return Ok(()) };
        let document = Document::new(&surveyed.report, &surveyed.choice, surveyed.report.elapsed);
        let look = Look::of_stdout(&self.outer.output, false);
        // Below its sentence, the table begins three columns further right.
        let look = Look { columns: look.columns.map(|columns| columns.saturating_sub(3)), ..look };
        let rows: Vec<&Row> = document.nodes.iter().collect();
        let table = table::table(&rows, document.chosen.as_deref(), look).render(&self.outer.output);
        for line in table.lines() {
            self.print(format_args!("   {line}"))?;
        }
        let why = select::explain(&surveyed.report.nodes, &surveyed.choice, Strategy::default())
            .unwrap_or_default();
        let word = self.outer.output.styled(Style::Strong, "chosen:");
        self.print(format_args!("   {word} {why} ({} ms)", surveyed.report.elapsed.as_millis()))
    }
}

/// The story is for people; a program gets one document at the end.
fn tell(globals: &Globals, text: impl std::fmt::Display) -> Result<(), Failure> {
    if globals.output.is_json() { Ok(()) } else { globals.output.print(&text) }
}

/// The page has loaded on another node than `left`.
async fn moved(hub: &Hub, left: &NodeId) -> Result<NodeId, Failure> {
    let mut subscriber = hub.subscribe();
    let mut arrived = None;
    loop {
        let delivery = subscriber.next().await.map_err(|error| failed("follow the session", &error))?;
        let Delivery::Message(text) = delivery else { continue };
        match serde_json::from_str(&text) {
            Ok(NodeMessage::Welcome { node, .. }) if node != *left => arrived = Some(node),
            Ok(NodeMessage::Loading { loading: false, .. }) => {
                if let Some(node) = arrived {
                    return Ok(node);
                }
            }
            _ => {}
        }
    }
}

fn open_for_nodes(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let passable = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(directory, passable)
        .map_err(|error| failed("open the demonstration's directory", &error))
}

/// A node's identity is made first, so that the fleet can sign it before it serves.
async fn plan(
    directory: &Path,
    id: &str,
    region: &str,
    fleet: &SigningKey,
    issuer: &SigningKey,
) -> Result<local::Plan, Failure> {
    let data_dir = directory.join(id);
    let output = tokio::process::Command::new(local::binary())
        .args(["identity", "--data-dir"])
        .arg(&data_dir)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| failed(&format!("start {}", local::binary().display()), &error))?;
    let identity: IdentityKey = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|error| failed("make a node's identity", &error))?;
    let id: NodeId = id.parse().expect("letters, digits and dashes are an id");
    let not_after = seconds(SystemTime::now()) + LIFETIME;
    let statement = Statement { identity, id: id.clone(), region: region.into(), not_after }.sign(fleet);
    let file = directory.join(format!("{id}.statement"));
    std::fs::write(&file, statement.to_string()).map_err(|error| failed("write a statement", &error))?;
    let arguments = vec![
        "--statement".into(),
        file.display().to_string(),
        // A key may begin with a dash.
        format!("--token-key={}", issuer.public()),
        // Every session of the demonstration brings a profile, which a waiting browser could not take.
        "--no-warm".into(),
        "--max-sessions".into(),
        "2".into(),
        // It is to be seen on a machine with a full disk, too.
        "--health-disk=off".into(),
        "--health-memory=off".into(),
    ];
    Ok(local::Plan { data_dir, id, region: region.into(), arguments })
}

/// A user's directories and settings of their own: the catalog is a file, the fleet is trusted.
fn inner_globals(
    outer: &Globals,
    directory: &Path,
    nodes: &[OwnNode],
    fleet: &IdentityKey,
) -> Result<Globals, Failure> {
    let paths = Paths::below(&directory.join("user"));
    let catalog = directory.join("nodes.json");
    let records: Vec<_> = nodes.iter().map(|node| &node.record).collect();
    let json = serde_json::to_vec_pretty(&records).expect("records serialize");
    std::fs::write(&catalog, json).map_err(|error| failed("write the catalog", &error))?;
    TrustStore::update(&paths, |store| store.add_fleet("demo", *fleet))?
        .map_err(|taken| failed("trust the demonstration's fleet", &taken))?;
    let flags = Flags { catalogs: vec![format!("file:{}", catalog.display())], ..Flags::default() };
    let settings = Settings::resolve(&flags, &|_| None, &paths.settings())?;
    Ok(Globals::new(outer.output.clone(), paths, settings))
}

fn make_profile(paths: &Paths) -> Result<OpenProfile, Failure> {
    let account = AccountKey::generate(&mut SystemRandom);
    let name = "demo".parse().expect("letters are a name");
    let now = seconds(SystemTime::now());
    Authority::create(&paths.profiles(), &name, &account, now, &mut SystemRandom)?;
    Ok(OpenProfile::open(&paths.profiles(), "demo", &account)?)
}

fn make_credentials(issuer: &SigningKey) -> Result<Credentials, Failure> {
    let seed = Credential::fresh_seed();
    let client = SigningKey::from_seed(&seed).public();
    let now = SystemTime::now();
    let claims = Claims::new(&issuer.public(), "demo", &client, Scopes::of_a_user(), seconds(now), LIFETIME);
    let credential = Credential::with_seed(claims.sign(issuer), *seed);
    Ok(Credentials::new(&credential, None, now)?)
}
