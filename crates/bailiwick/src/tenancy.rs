//! How a request names its tenant.

/// Where a request names the organisation it acts in.
///
/// # Security
/// Never a header and never the body: what a client can change without changing the URL cannot be logged, cached or
/// reviewed with it (ACL-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantFrom(());

impl TenantFrom {
    /// In the path, as the slug of an organisation: `/orgs/{org}/…`.
    pub const fn path() -> Self {
        Self(())
    }
}
