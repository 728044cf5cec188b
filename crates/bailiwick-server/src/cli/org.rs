//! `bailiwick org`.
use bailiwick::{
    clock::{Clock, OsEntropy, SystemClock},
    id::Id,
    identity::{OrgId, Role, Slug, Username},
    store::{DirectoryError, NewOrg},
};
use clap::Subcommand;
use serde_json::json;

use super::{
    Context, Outcome,
    arguments::display_name,
    block_on, database,
    failure::Failure,
    operator,
    output::{Format, tell},
};

/// Make organisations, and say who is a member
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add an organisation with its first owner; prints its id
    #[command(after_help = "Example:\n  bailiwick org create acme --name 'Acme Inc.' --owner ann")]
    Create {
        /// The short name in URLs: 1 to 50 characters of a-z, 0-9 and -
        slug: Slug,
        /// The name for people
        #[arg(long, value_parser = display_name)]
        name: String,
        /// The user who becomes the first owner
        #[arg(long, value_name = "USER")]
        owner: Username,
        #[command(flatten)]
        format: Format,
    },
    /// List all organisations
    #[command(after_help = "Example:\n  bailiwick org list --format json")]
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Make a user a member, or change the role of one
    #[command(after_help = "Example:\n  bailiwick org add-member acme bob --role member")]
    AddMember {
        /// The organisation
        slug: Slug,
        /// The user name
        user: Username,
        /// viewer, member, admin or owner
        #[arg(long)]
        role: Role,
    },
    /// End a membership; tasks of the organisation lose an assignee who leaves
    #[command(after_help = "Example:\n  bailiwick org remove-member acme bob")]
    RemoveMember {
        /// The organisation
        slug: Slug,
        /// The user name
        user: Username,
    },
}

/// Why there is no new organisation.
fn not_created(error: DirectoryError, slug: &Slug) -> Failure {
    match error {
        DirectoryError::Taken => Failure::no(
            format!("the short name {slug} is taken"),
            "choose another one; `bailiwick org list` shows those in use",
        ),
        error => error.into(),
    }
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let loaded = context.keyed_settings()?;
    match command {
        Command::Create { slug, name, owner, format } => {
            let id: OrgId = block_on(async {
                let store = database::open(&loaded).await?;
                let owner = store.user_id(&owner).await?.ok_or(DirectoryError::NoSuchUser)?;
                let clock = SystemClock::new();
                let id = Id::new(&clock, &OsEntropy);
                let org = NewOrg { id, slug: slug.clone(), name, owner, created_at: clock.now() };
                store.create_org(org, operator::act()).await.map_err(|error| not_created(error, &slug))?;
                Ok(id)
            })?;
            tell(&format!("organisation {slug} created"));
            format.print_one(&id.to_string(), &json!({ "id": id.to_string(), "slug": slug.as_str() }))
        }
        Command::List { format } => {
            let orgs = block_on(async { Ok(database::open(&loaded).await?.orgs().await?) })?;
            let rows = orgs.into_iter().map(|org| {
                vec![
                    org.id.to_string().into(),
                    org.slug.into(),
                    org.name.into(),
                    org.members.into(),
                    org.created_at.to_string().into(),
                ]
            });
            format.print_table(&["id", "slug", "name", "members", "created_at"], rows.collect())
        }
        Command::AddMember { slug, user, role } => {
            database::change(&loaded, async |store| {
                Ok(store.put_member(&slug, &user, role, operator::act()).await?)
            })?;
            tell(&format!("{user} is {role} of {slug}"));
            Ok(())
        }
        Command::RemoveMember { slug, user } => {
            database::change(&loaded, async |store| {
                Ok(store.remove_member(&slug, &user, operator::act()).await?)
            })?;
            tell(&format!("{user} is no member of {slug} any more"));
            Ok(())
        }
    }
}
