-- The audit: an append-only table whose rows are chained by hashes.
-- An entry is written within the transaction that it tells of, and sealed into the chain at once where nobody else is sealing, else by whoever
-- comes next (another change, the server's own round each second, 'baige audit'). So commits never wait for each other.

CREATE OR REPLACE FUNCTION baige_sys.audit_text(entry baige_sys.audit)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_array(entry.seq, entry.id, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), entry.kind, entry.layer,
                             entry.actor, entry.role, entry.district, entry.request_id, entry.detail)::text
$$;

CREATE OR REPLACE FUNCTION baige_sys.audit_seal()
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    entry baige_sys.audit;
    head_seq bigint;
    head_hash bytea;
    sealed bigint := 0;
BEGIN
    -- an older snapshot would not see the head
    IF current_setting('transaction_isolation') <> 'read committed' OR NOT pg_try_advisory_xact_lock(106750201, 2) THEN
        RETURN 0;
    END IF;
    SELECT seq, hash INTO head_seq, head_hash FROM baige_sys.audit WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1;
    head_seq := coalesce(head_seq, 0);
    head_hash := coalesce(head_hash, '\x'::bytea);
    FOR entry IN SELECT * FROM baige_sys.audit WHERE seq IS NULL ORDER BY id LIMIT 10000 LOOP
        head_seq := head_seq + 1;
        entry.seq := head_seq;
        head_hash := sha256(head_hash || convert_to(baige_sys.audit_text(entry), 'UTF8'));
        UPDATE baige_sys.audit SET seq = head_seq, hash = head_hash WHERE id = entry.id;
        sealed := sealed + 1;
    END LOOP;
    RETURN sealed;
END $$;

CREATE OR REPLACE FUNCTION baige_sys.audit_guard()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND NEW.seq IS NOT NULL
       AND (to_jsonb(OLD) - 'seq' - 'hash') = (to_jsonb(NEW) - 'seq' - 'hash') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit is only ever added to' USING ERRCODE = 'feature_not_supported';
END $$;
DROP TRIGGER IF EXISTS audit_guard ON baige_sys.audit;
CREATE TRIGGER audit_guard BEFORE UPDATE OR DELETE ON baige_sys.audit FOR EACH ROW EXECUTE FUNCTION baige_sys.audit_guard();
DROP TRIGGER IF EXISTS audit_guard_truncate ON baige_sys.audit;
CREATE TRIGGER audit_guard_truncate BEFORE TRUNCATE ON baige_sys.audit FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.audit_guard();

-- At the end of a transaction that opened a change set: what it came to. Up to 20 rows are kept as they were and as they are (but those that an
-- analysis wrote), up to 1,000 as a hash.
CREATE OR REPLACE FUNCTION baige_sys.audit_change()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_catalog AS $$
DECLARE
    change baige_sys.change_set;
    was jsonb := '[]';
    is_now jsonb := '[]';
    was_sum text;
    is_now_sum text;
    was_count bigint := 0;
    is_now_count bigint := 0;
    told jsonb;
BEGIN
    SELECT * INTO change FROM baige_sys.change_set WHERE id = NEW.id;
    told := jsonb_build_object('change', change.id, 'action', change.action, 'note', change.note, 'updated', change.updated,
                               'deleted', change.deleted, 'inserted', change.inserted);
    IF to_regclass(format('baige.%I', change.layer)) IS NOT NULL THEN
        EXECUTE format('SELECT count(*) FROM (SELECT FROM baige_history.%I WHERE replaced_by = $1 LIMIT 1001) AS t', change.layer)
            INTO was_count USING change.id;
        EXECUTE format('SELECT count(*) FROM (SELECT FROM baige.%I WHERE change_id = $1 LIMIT 1001) AS t', change.layer)
            INTO is_now_count USING change.id;
    END IF;
    -- rows that an analysis wrote are never kept whole: they follow from others, and their outlines (of counties) are long
    IF change.action <> 'run' AND was_count <= 20 AND is_now_count <= 20 THEN
        IF was_count > 0 THEN
            EXECUTE format('SELECT jsonb_agg(to_jsonb(t) ORDER BY t.id) FROM baige_history.%I AS t WHERE replaced_by = $1', change.layer)
                INTO was USING change.id;
        END IF;
        IF is_now_count > 0 THEN
            EXECUTE format('SELECT jsonb_agg(to_jsonb(t) ORDER BY t.id) FROM baige.%I AS t WHERE change_id = $1', change.layer)
                INTO is_now USING change.id;
        END IF;
        told := told || jsonb_build_object('before', was, 'after', is_now);
    ELSIF was_count <= 1000 AND is_now_count <= 1000 THEN
        -- of the rows as text, by id: as JSON their geometries would take far longer
        EXECUTE format('SELECT encode(sha256(convert_to(coalesce(string_agg(t::text, chr(10) ORDER BY t.id), ''''), ''UTF8'')), ''hex'')'
                       ' FROM baige_history.%I AS t WHERE replaced_by = $1', change.layer) INTO was_sum USING change.id;
        EXECUTE format('SELECT encode(sha256(convert_to(coalesce(string_agg(t::text, chr(10) ORDER BY t.id), ''''), ''UTF8'')), ''hex'')'
                       ' FROM baige.%I AS t WHERE change_id = $1', change.layer) INTO is_now_sum USING change.id;
        told := told || jsonb_build_object('before_sha256', was_sum, 'after_sha256', is_now_sum);
    END IF;
    INSERT INTO baige_sys.audit (kind, layer, actor, role, district, request_id, detail)
    VALUES ('change', change.layer, change.actor, change.role, coalesce(current_setting('baige.district', true), ''), change.request_id, told);
    PERFORM baige_sys.audit_seal();
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS audit_change ON baige_sys.change_set;
CREATE CONSTRAINT TRIGGER audit_change AFTER INSERT ON baige_sys.change_set DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION baige_sys.audit_change();

-- Reads, several at once: an array of objects with at, layer, actor, role, district, request_id, detail.
CREATE OR REPLACE FUNCTION baige_sys.audit_reads(entries jsonb)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO baige_sys.audit (at, kind, layer, actor, role, district, request_id, detail)
    SELECT e.at, 'read', e.layer, e.actor, e.role, e.district, e.request_id, e.detail
    FROM jsonb_to_recordset(entries) AS e(at timestamptz, layer text, actor text, role text, district text, request_id text, detail jsonb);
    RETURN baige_sys.audit_seal();
END $$;

REVOKE ALL ON baige_sys.audit FROM PUBLIC, {roles};
GRANT SELECT ON baige_sys.audit TO baige_admin;
REVOKE EXECUTE ON FUNCTION baige_sys.audit_reads(jsonb), baige_sys.audit_seal() FROM PUBLIC, {roles};
