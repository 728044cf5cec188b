//! `bailiwick init`.
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    pin::pin,
};

use bailiwick::{
    clock::{Clock, OsEntropy, SystemClock},
    id::Id,
    identity::{Slug, UserId, Username},
    secret::Secret,
    store::{NewOrg, NewUser},
};
use clap::Args as ClapArgs;

use super::{
    Outcome,
    arguments::{PasswordSource, display_name, email},
    block_on, database,
    failure::Failure,
    key, operator,
    output::{print, tell},
    password,
    serve::StopSignal,
};
use crate::config::{DEFAULT_FILE, DatabaseUrl, Inputs, Loaded, MasterKey, create_private};

/// Make settings with a fresh master key, a database, and the first owner with their organisation
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  pwgen -s 20 1 | bailiwick init --dir /srv/bailiwick --owner ann \
                  --email ann@example.com --org acme --password-stdin")]
pub(super) struct Args {
    /// The directory of the settings, the key and the database; it is made if need be
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The user name of the first owner
    #[arg(long, value_name = "NAME")]
    owner: Username,
    /// The e-mail address of the first owner
    #[arg(long, value_parser = email)]
    email: String,
    /// The short name of the organisation in URLs: 1 to 50 characters of a-z, 0-9 and -
    #[arg(long, value_name = "SLUG")]
    org: Slug,
    /// The name of the organisation for people [default: the short name]
    #[arg(long, value_name = "NAME", value_parser = display_name)]
    org_name: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
}

const KEY_FILE: &str = "master.key";

/// What `init` writes: settings with which `serve` starts as it is, and that only this machine can reach.
const SETTINGS: &str = "\
# Settings of Bailiwick. `bailiwick config reference` prints every key with its default and what it does,
# `bailiwick check` tells what is unsafe.

[server]
bind = \"127.0.0.1:8000\"
# Before other machines can reach the server: put a proxy with https in front, on this machine, and write here
# the address that clients use, such as \"https://api.example.com\", its host below, and
# trusted_proxies = [\"127.0.0.1\"], so that the proxy may say where requests come from.
public_url = \"http://127.0.0.1:8000\"
allowed_hosts = [\"localhost\", \"127.0.0.1\", \"[::1]\"]

[database]
url = \"sqlite://bailiwick.db\"

[secrets]
# Whoever has this file can read what the database keeps encrypted; without it nobody can. Back it up apart.
master_key_file = \"master.key\"

[mail]
# Mails wait in this directory, one file each. Before anybody is to get them, write here the URL of a mail server, such as
# \"smtps://user:password@mail.example.com\", and the sender: from = \"Bailiwick <noreply@example.com>\".
transport = \"file:mails\"
";

pub(super) fn run(args: &Args) -> Outcome {
    let settings_file = args.dir.join(DEFAULT_FILE);
    for file in [&settings_file, &args.dir.join(KEY_FILE)] {
        refuse_existing(file)?;
    }
    let password = password::read(&args.password, &args.owner)?;

    // It outlives the work, and so removes files that nobody holds open any more.
    let mut made = Made::default();
    let done = block_on(async {
        // From here on, being told to stop no longer ends the process where it is.
        let mut stop = StopSignal::register()?;
        let loaded = make_files(&args.dir, &settings_file, &mut made)?;
        let password = password::fit(password, &args.owner, &loaded.settings)?;
        let mut work = pin!(make_owner(args, password, &loaded));
        let done = stop.unless_told(work.as_mut()).await?;
        if done.is_none() && matches!(loaded.settings.database.url, DatabaseUrl::Sqlite(_)) {
            // The thread that makes the file goes on, and would leave a journal behind: it takes but a moment.
            work.await?;
        }
        Ok(done)
    })?;
    if done.is_none() {
        return Err(Failure::out_of_reach(
            "told to stop before everything was made; the files that were are removed again",
            "run `bailiwick init` again",
        ));
    }
    made.keep();

    tell(&format!(
        "{} owns {}; start the server with:\n  bailiwick serve --config {}",
        args.owner,
        args.org,
        settings_file.display()
    ));
    print(&format!("{}\n", settings_file.display()))
}

/// Writes the key and the settings, and reads these as every command will.
fn make_files(directory: &Path, settings_file: &Path, made: &mut Made) -> Result<Loaded, Failure> {
    made.make_directory(directory).map_err(|error| unwritable(directory, &error))?;
    let key_file = directory.join(KEY_FILE);
    MasterKey::generate(&OsEntropy).write_new(&key_file).map_err(|error| unwritable(&key_file, &error))?;
    made.add(key_file);
    let written = create_private(settings_file).and_then(|mut file| {
        made.add(settings_file.to_owned());
        file.write_all(SETTINGS.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| unwritable(settings_file, &error))?;

    // The environment counts too: it can name another database, for one.
    let loaded = Loaded::load(&Inputs::of_process(Some(settings_file.to_owned())))?;
    for file in loaded.settings.database.url.files() {
        refuse_existing(&file)?;
        made.add(file);
    }
    Ok(loaded)
}

/// Makes the database, with the first owner and their organisation.
async fn make_owner(args: &Args, password: Secret<String>, loaded: &Loaded) -> Outcome {
    database::migrate(loaded).await?;
    let store = database::open(loaded).await?;
    key::begin(loaded, &store).await?;
    let password_hash = password::hash(password, &loaded.settings).await?;
    let clock = SystemClock::new();
    let (id, created_at): (UserId, _) = (Id::new(&clock, &OsEntropy), clock.now());
    let (username, email) = (args.owner.clone(), args.email.clone());
    let user = NewUser { id, username, email, password_hash, is_staff: false, created_at };
    store.create_user(user, operator::act()).await?;
    let name = args.org_name.clone().unwrap_or_else(|| args.org.to_string());
    let org = NewOrg { id: Id::new(&clock, &OsEntropy), slug: args.org.clone(), name, owner: id, created_at };
    Ok(store.create_org(org, operator::act()).await?)
}

fn refuse_existing(path: &Path) -> Outcome {
    match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        Err(error) => Err(unwritable(path, &error)),
        Ok(_) => Err(Failure::refused(
            format!("{} is there already, and init overwrites nothing", path.display()),
            "choose another directory with --dir, or move the file away",
        )),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::refused(
        format!("cannot write {}: {error}", path.display()),
        "choose a directory that you may write to with --dir",
    )
}

/// Files and directories that were made, which go again unless everything was done.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The innermost first.
    directories: Vec<PathBuf>,
}

impl Made {
    fn add(&mut self, file: PathBuf) {
        self.files.push(file);
    }

    /// Makes a directory, with those that it is to be in.
    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        self.directories = missing.map(Path::to_owned).collect();
        fs::create_dir_all(path)
    }

    fn keep(mut self) {
        self.files.clear();
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What was not made cannot be removed, and what cannot be removed is said by the next try. A directory goes
        // only if it is empty.
        for path in &self.files {
            let _ = fs::remove_file(path);
        }
        for path in &self.directories {
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Strictness, check};

    #[test]
    fn the_settings_that_init_writes_have_no_findings() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(DEFAULT_FILE);
        MasterKey::generate(&OsEntropy).write_new(&directory.path().join(KEY_FILE)).unwrap();
        create_private(&file).unwrap().write_all(SETTINGS.as_bytes()).unwrap();
        let loaded = Loaded::load(&Inputs { file: Some(file), variables: Vec::new() }).unwrap();
        let report = check(&loaded, Strictness::Deploy);
        assert_eq!(report.findings(), []);
    }

    #[test]
    fn what_was_made_goes_again_unless_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            let mut made = Made::default();
            made.add(path);
            made
        };
        make("kept").keep();
        drop(make("dropped"));
        assert!(directory.path().join("kept").exists());
        assert!(!directory.path().join("dropped").exists());
    }
}
