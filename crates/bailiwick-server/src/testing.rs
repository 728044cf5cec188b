//! What the server's own tests need of its inside. It is no part of the public API.
use bailiwick::{app::Resources, database::refinery::Runner, routes::Routes, units::ByteSize};

use crate::{
    cli::embedded,
    handlers::{self, Registration},
    resources,
};

/// The server's resources.
pub fn resources() -> Resources {
    resources::all()
}

/// The server's routes besides those of its resources.
pub fn routes() -> Routes {
    handlers::routes(Registration::Closed, ByteSize::mib(6))
}

/// The server's migrations.
pub fn migrations() -> Runner {
    embedded::migrations::runner()
}
