-- Functions behind history, change counters and access. Safe to run again.

CREATE OR REPLACE FUNCTION baige_sys.begin_change(layer text, action text, note text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    change bigint;
BEGIN
    INSERT INTO baige_sys.change_set (actor, role, layer, action, note, request_id)
    VALUES (
        coalesce(nullif(current_setting('baige.key_id', true), ''), session_user::text),
        coalesce(nullif(current_setting('baige.role', true), ''), 'owner'),
        layer, action, note,
        nullif(current_setting('baige.request_id', true), '')
    )
    RETURNING id INTO change;
    PERFORM set_config('baige.change_id', change::text, true);
    PERFORM set_config('baige.change_layer', layer, true);
    RETURN change;
END $$;

CREATE OR REPLACE FUNCTION baige_sys.count_inserted(n bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    UPDATE baige_sys.change_set SET inserted = inserted + n
    WHERE id = nullif(current_setting('baige.change_id', true), '')::bigint;
$$;

-- Before a statement that writes: a change set of this layer must be open; one is opened where the writer did not.
CREATE OR REPLACE FUNCTION baige_sys.ensure_change()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF coalesce(current_setting('baige.change_id', true), '') = ''
       OR coalesce(current_setting('baige.change_layer', true), '') <> TG_TABLE_NAME THEN
        PERFORM baige_sys.begin_change(TG_TABLE_NAME, 'direct', NULL);
    END IF;
    RETURN NULL;
END $$;

-- Before a row is updated: stamp it (its argument is the layer: the row's table may be a partition); and note a new classification, which holds for the feature's old versions too.
CREATE OR REPLACE FUNCTION baige_sys.stamp_row()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'the id of a feature never changes' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.classification <> OLD.classification THEN
        INSERT INTO baige_sys.reclassified (layer, feature_id, classification) VALUES (TG_ARGV[0], NEW.id, NEW.classification)
        ON CONFLICT (layer, feature_id) DO UPDATE SET classification = excluded.classification;
    END IF;
    NEW.changed_at := greatest(now(), OLD.changed_at);  -- a clock that was set back makes no version older than the one before
    NEW.change_id := nullif(current_setting('baige.change_id', true), '')::bigint;
    RETURN NEW;
END $$;

-- After a statement that wrote: old versions into the history, the layer's counter up, listeners told.
CREATE OR REPLACE FUNCTION baige_sys.record_change()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    change bigint := nullif(current_setting('baige.change_id', true), '')::bigint;
    touched bigint := 1;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format('INSERT INTO baige_history.%I SELECT greatest(now(), o.changed_at), $1, ''U'', o.* FROM old_rows o', TG_TABLE_NAME) USING change;
        GET DIAGNOSTICS touched = ROW_COUNT;
        UPDATE baige_sys.change_set SET updated = updated + touched WHERE id = change;
    ELSIF TG_OP = 'DELETE' THEN
        EXECUTE format('INSERT INTO baige_history.%I SELECT greatest(now(), o.changed_at), $1, ''D'', o.* FROM old_rows o', TG_TABLE_NAME) USING change;
        GET DIAGNOSTICS touched = ROW_COUNT;
        UPDATE baige_sys.change_set SET deleted = deleted + touched WHERE id = change;
    END IF;
    IF touched > 0 THEN
        UPDATE baige_sys.layer SET change_counter = change_counter + 1, changed_at = now() WHERE name = TG_TABLE_NAME;
        PERFORM pg_notify('baige_layer', TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION baige_sys.refuse_truncate()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE would leave no history; use DELETE' USING ERRCODE = 'feature_not_supported';
END $$;

-- Told when layers are added or removed, so that servers read the registry again.
CREATE OR REPLACE FUNCTION baige_sys.announce_registry()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('baige_registry', '');
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS announce_registry ON baige_sys.layer;
CREATE TRIGGER announce_registry AFTER INSERT OR DELETE OR UPDATE OF declaration ON baige_sys.layer
    FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.announce_registry();

GRANT USAGE ON SCHEMA baige, baige_history, baige_sys TO {roles};
GRANT SELECT ON baige_sys.layer, baige_sys.storage, baige_sys.reclassified TO {roles};
GRANT SELECT ON baige_sys.load_run, baige_sys.quarantine TO baige_admin;
-- Photos follow their inspection and its outfall: the policies of both apply to the asking role.
ALTER TABLE baige_sys.inspection_photo ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS of_outfall ON baige_sys.inspection_photo;
CREATE POLICY of_outfall ON baige_sys.inspection_photo USING (EXISTS (
    SELECT 1 FROM baige.outfall_inspection i JOIN baige.outfall o ON o.id = i.outfall_id WHERE i.id = inspection_id))
    WITH CHECK (EXISTS (
    SELECT 1 FROM baige.outfall_inspection i JOIN baige.outfall o ON o.id = i.outfall_id WHERE i.id = inspection_id
    AND (coalesce(current_setting('baige.district', true), '') = '' OR o.admin_code ^@ current_setting('baige.district', true))));
GRANT SELECT ON baige_sys.inspection_photo TO baige_viewer, baige_officer, baige_planner, baige_admin;
GRANT INSERT ON baige_sys.inspection_photo TO baige_officer, baige_planner, baige_admin;

REVOKE EXECUTE ON FUNCTION baige_sys.begin_change(text, text, text), baige_sys.count_inserted(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION baige_sys.begin_change(text, text, text), baige_sys.count_inserted(bigint)
    TO baige_officer, baige_planner, baige_admin;
