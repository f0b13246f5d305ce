CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, started_at_epoch_ms, priority, serialization, was_forked_from, rate_limited, completed_at, attributes, is_debounced, application_name, creator_xid) VALUES ('done', 'SUCCESS', 'work', 'user-1', 'tests', 1795359944000, 1795359945000, '1', 1, 'profile', 1795359945000, 0, 'portable_json', 0, 0, 1795359945000, '{"title": "A table", "subject": {"n": 1}}', 0, 'ecluse', '097eaaa5-6b94-4acf-8f5f-6105e69a630e');
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, started_at_epoch_ms, priority, serialization, was_forked_from, rate_limited, completed_at, attributes, is_debounced, application_name, creator_xid) VALUES ('failed', 'ERROR', 'work', 'user-1', 'tests', 1795359944000, 1795359945000, '1', 1, 'profile', 1795359945000, 0, 'portable_json', 0, 0, 1795359945000, '{"title": "A table", "subject": {"n": 2}}', 0, 'ecluse', '59d943ff-dad5-4554-bb50-4c12b460f916');
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, created_at, updated_at, application_version, recovery_attempts, queue_name, priority, serialization, was_forked_from, rate_limited, attributes, is_debounced, application_name, creator_xid) VALUES ('waiting', 'ENQUEUED', 'work', 'user-1', 1795359946000, 1795359946000, '1', 0, 'train', 0, 'portable_json', 0, 0, '{"title": "A training: \u00e9", "subject": {"n": 1}}', 0, 'ecluse', '5a27b458-6921-467c-8802-eed23fe61292');
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, created_at, updated_at, application_version, recovery_attempts, priority, serialization, was_forked_from, rate_limited, completed_at, attributes, is_debounced, application_name, creator_xid) VALUES ('stopped', 'CANCELLED', 'work', 'user-1', 1795359946000, 1795359947000, '1', 0, 0, 'portable_json', 0, 0, 1795359947000, '{"title": "A training: \u00e9", "subject": {"n": 1}}', 0, 'ecluse', '88d9dd07-046f-4219-bb17-5dd3c860c6e3');
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, priority, serialization, was_forked_from, rate_limited, attributes, is_debounced, application_name, creator_xid) VALUES ('at work', 'PENDING', 'work', 'user-1', 'gone', 1795359946000, 1795359946000, '1', 0, 'train', 0, 'portable_json', 0, 0, '{"title": "A training: \u00e9", "subject": {"n": 1}}', 0, 'ecluse', '663a2e98-8b82-40f2-97f2-e415b3fc4806');
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, created_at, updated_at, application_version, recovery_attempts, queue_name, priority, serialization, was_forked_from, rate_limited, attributes, is_debounced, application_name, creator_xid) VALUES ('poisoned', 'ENQUEUED', 'work', 'user-1', 1795359946000, 1795359946000, '1', 0, 'train', 0, 'portable_json', 0, 0, '{"title": "A training: \u00e9", "subject": {"n": 1}}', 0, 'ecluse', '468b8496-a68b-412c-b125-2ae362501d67');
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO workflow_output (workflow_uuid, error, retention_timestamp) VALUES ('failed', '{"name":"InvalidInput","message":"The table has one class only.","code":"invalid_input"}', 1795359945000);
INSERT INTO workflow_output (workflow_uuid, output, retention_timestamp) VALUES ('done', 'null', 1795359945000);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
INSERT INTO workflow_events (workflow_uuid, key, value, serialization) VALUES ('done', 'progress', '{"stage":"work","fraction":0.4,"message":"half of it"}', 'portable_json');
INSERT INTO workflow_events (workflow_uuid, key, value, serialization) VALUES ('failed', 'progress', '{"stage":"work","fraction":0.4,"message":"half of it"}', 'portable_json');
