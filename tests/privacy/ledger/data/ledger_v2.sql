-- A ledger of version 2 as it was written by synthgen before version 3 of the ledger.
BEGIN TRANSACTION;
CREATE TABLE cohort_keys (
	cohort TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	PRIMARY KEY (cohort)
);
INSERT INTO "cohort_keys" VALUES('icu','23a37809232957a9e49f414aab152fed46c93adee5d5f6f1631c4337bb8a29bb');
INSERT INTO "cohort_keys" VALUES('maternity','99c05294ea05a701046ce90ab8ade0a574eba6c353f17ec50949d9b893ecb162');
CREATE TABLE entries (
	seq BIGINT NOT NULL, 
	time TEXT NOT NULL, 
	cohort TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	content TEXT NOT NULL, 
	previous TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "entries" VALUES(1,'2026-11-30T17:04:02+00:00','icu','cap','{"adjacency":"add-or-remove-one-patient","delta":1e-06,"disjoint_from":[],"epsilon":1.0,"key":"012d2ff9498402ec4c5b722e6c790414","reason":""}','26a92c26b10198b5d5090621880e64052e3facf9cc7f9a559cd8e151cdc83f51','c63bfe1e8aeb1ae56dc089f8351a844492fc636ed70276ca4b74bef0c4ee0624');
INSERT INTO "entries" VALUES(2,'2026-11-30T17:04:02+00:00','maternity','cap','{"adjacency":"add-or-remove-one-patient","delta":1e-06,"disjoint_from":["icu"],"epsilon":2.0,"key":"833807ba734e31fa4468421294e8656c","reason":"ids compared, 0 shared"}','c63bfe1e8aeb1ae56dc089f8351a844492fc636ed70276ca4b74bef0c4ee0624','311b4ddd4b82abf0c7b11db6bf2b9c1a132e518ed019b6eeb0949d4965bbbb16');
INSERT INTO "entries" VALUES(3,'2026-11-30T17:04:02+00:00','icu','reserve','{"event":{"class":"ZCDpEvent","rho":0.006,"xi":0.0},"key":"0123abcd","purpose":"fit marginal","run":"run-1"}','311b4ddd4b82abf0c7b11db6bf2b9c1a132e518ed019b6eeb0949d4965bbbb16','19c75d0591bee69f1795bb216d5d3f2b69cea066a5919f27b3dbae95b458d9c3');
INSERT INTO "entries" VALUES(4,'2026-11-30T17:04:02+00:00','icu','draw','{"entry":3}','19c75d0591bee69f1795bb216d5d3f2b69cea066a5919f27b3dbae95b458d9c3','76e07656a8a4386873fb2f84aa87f4b442247593cbc1aa60c688dfda9cce8776');
INSERT INTO "entries" VALUES(5,'2026-11-30T17:04:02+00:00','icu','commit','{"detail":{"generator":"marginal"},"entry":3}','76e07656a8a4386873fb2f84aa87f4b442247593cbc1aa60c688dfda9cce8776','0bd3a7628b21bff65c08f34524dbdc64f005b339a365452fcb6313ea6e4077cc');
INSERT INTO "entries" VALUES(6,'2026-11-30T17:04:02+00:00','icu','look','{"run":"run-1"}','0bd3a7628b21bff65c08f34524dbdc64f005b339a365452fcb6313ea6e4077cc','0bd3679d3c5a5e91e156566c18631c50c375e79039b58c632b73351e3025531d');
INSERT INTO "entries" VALUES(7,'2026-11-30T17:04:02+00:00','icu','reserve','{"event":{"class":"ZCDpEvent","rho":0.003,"xi":0.0},"purpose":"fit marginal","run":"run-2"}','0bd3679d3c5a5e91e156566c18631c50c375e79039b58c632b73351e3025531d','9c1c8c94579c4a92a544c936d55ea58b04539add575149f9affff6b622f031ae');
INSERT INTO "entries" VALUES(8,'2026-11-30T17:04:02+00:00','icu','void','{"entry":7,"reason":"the data were refused before any noise was drawn"}','9c1c8c94579c4a92a544c936d55ea58b04539add575149f9affff6b622f031ae','acddd4748587137f867a7e2dc6a0665f8882f6dcc1c405bbb3a16ed31de1c2a7');
INSERT INTO "entries" VALUES(9,'2026-11-30T17:04:02+00:00','maternity','reserve','{"event":{"class":"ZCDpEvent","rho":0.004,"xi":0.0},"key":"4567cdef","purpose":"fit marginal","run":"run-3"}','acddd4748587137f867a7e2dc6a0665f8882f6dcc1c405bbb3a16ed31de1c2a7','6283c73db235d8717cdf44291d5f21c198e5ff7aebf2677d655f8a5ded439723');
INSERT INTO "entries" VALUES(10,'2026-11-30T17:04:02+00:00','maternity','draw','{"entry":9}','6283c73db235d8717cdf44291d5f21c198e5ff7aebf2677d655f8a5ded439723','8202acd211cfd3d71983a1ec128a539c8c946189c220d446944d2f75f43e26a0');
INSERT INTO "entries" VALUES(11,'2026-11-30T17:04:02+00:00','maternity','reserve','{"event":{"class":"ZCDpEvent","rho":0.001,"xi":0.0},"purpose":"fit marginal","run":"run-4"}','8202acd211cfd3d71983a1ec128a539c8c946189c220d446944d2f75f43e26a0','d858c7133185f66025c77a4909c6d1dc964d8f584525853abfe8555a611bf912');
INSERT INTO "entries" VALUES(12,'2026-11-30T17:04:02+00:00','icu','cap','{"adjacency":"add-or-remove-one-patient","delta":1e-06,"disjoint_from":[],"epsilon":1.5,"key":"012d2ff9498402ec4c5b722e6c790414","reason":"board decision 7"}','d858c7133185f66025c77a4909c6d1dc964d8f584525853abfe8555a611bf912','f6528d2674f2cc19e1db29c1a7285cf810b0e592e0f11822a463ccf87190a190');
CREATE TABLE head (
	id INTEGER NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "head" VALUES(1,'12:f6528d2674f2cc19e1db29c1a7285cf810b0e592e0f11822a463ccf87190a190');
CREATE TABLE layout (
	id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "layout" VALUES(1,2);
COMMIT;
