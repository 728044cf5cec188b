-- Tokens that an organisation owns. Each speaks for a service: a user who is no person, has no password and acts in one
-- organisation alone, so that what it makes has a maker like everything else.

-- The organisation that it serves; null for a person.
ALTER TABLE users ADD COLUMN service_org_id uuid REFERENCES orgs (id);
-- Who made a service; null for a person.
ALTER TABLE users ADD COLUMN created_by uuid REFERENCES users (id);

CREATE INDEX users_service ON users (service_org_id) WHERE service_org_id IS NOT NULL;

-- Members are people.
DROP VIEW members;
CREATE VIEW members AS
SELECT memberships.org_id, memberships.user_id, users.username, memberships.role, memberships.joined_at
FROM memberships JOIN users ON users.id = memberships.user_id
WHERE users.service_org_id IS NULL;

-- The tokens that an organisation owns, also those that have ended. What a token may do, its service's membership says.
CREATE VIEW org_tokens AS
SELECT users.service_org_id AS org_id, api_tokens.id, api_tokens.user_id, api_tokens.name, memberships.role,
       api_tokens.display, api_tokens.scopes, users.created_by, api_tokens.created_at, api_tokens.expires_at,
       api_tokens.last_used_at, api_tokens.revoked_at
FROM users
JOIN api_tokens ON api_tokens.user_id = users.id
JOIN memberships ON memberships.org_id = users.service_org_id AND memberships.user_id = users.id;
