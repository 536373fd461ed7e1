-- Asked of a streaming replica before anything else: has it replayed all that the primary had written up to a place in its log (bytes from the start)?
-- An error where it has not (BG001), or where it is no replica at all (BG002), ends what was asked with it; nothing stale is ever read.
CREATE OR REPLACE FUNCTION baige_sys.replayed(place bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
BEGIN
    IF NOT pg_is_in_recovery() THEN
        RAISE EXCEPTION 'not a replica' USING ERRCODE = 'BG002';
    ELSIF coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0) < place THEN
        RAISE EXCEPTION 'behind' USING ERRCODE = 'BG001';
    END IF;
    RETURN true;
END $$;
