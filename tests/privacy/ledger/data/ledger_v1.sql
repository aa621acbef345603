-- A ledger of version 1 as it was written by synthgen before version 2 of the ledger.
BEGIN TRANSACTION;
CREATE TABLE cohort_keys (
	cohort TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	PRIMARY KEY (cohort)
);
INSERT INTO "cohort_keys" VALUES('icu','86b024a462bb5375ff9393d6154ef3da9fa396bbd397acc0badde2af8f0a3db6');
INSERT INTO "cohort_keys" VALUES('maternity','5420d144d26b2c131bc24ca4f10d09481b757d8ab4464e70540df8b81681959e');
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
INSERT INTO "entries" VALUES(1,'2026-11-24T08:32:53+00:00','icu','cap','{"adjacency":"add-or-remove-one-patient","delta":1e-06,"disjoint_from":[],"epsilon":1.0,"key":"75c9c8c54b0f393c41b567eccad14ac3","reason":""}','0c555c2bb861361d439e039af5ec8b93b66f5dd196c195d7ffd5831a944ec1f6','28e809b795351d84b8bafe5ab0a27f5d84a776ddb1e9a94d0591279da208f127');
INSERT INTO "entries" VALUES(2,'2026-11-24T08:32:53+00:00','maternity','cap','{"adjacency":"add-or-remove-one-patient","delta":1e-06,"disjoint_from":["icu"],"epsilon":2.0,"key":"eafbc86d737223475906880c3a1e5d86","reason":"ids compared"}','28e809b795351d84b8bafe5ab0a27f5d84a776ddb1e9a94d0591279da208f127','6a1efcec99b314561cbd7d88057906ea29f1f4387434d8419b289463e5518e32');
INSERT INTO "entries" VALUES(3,'2026-11-24T08:32:53+00:00','icu','reserve','{"event":{"class":"ZCDpEvent","rho":0.006,"xi":0.0},"purpose":"fit marginal","run":"run-1"}','6a1efcec99b314561cbd7d88057906ea29f1f4387434d8419b289463e5518e32','1af3d45ee4946998504703c8e6f75b7cdaaa324e6076e2d20063789309426f84');
INSERT INTO "entries" VALUES(4,'2026-11-24T08:32:53+00:00','icu','commit','{"detail":{"generator":"marginal"},"entry":3}','1af3d45ee4946998504703c8e6f75b7cdaaa324e6076e2d20063789309426f84','f530cf57ad64000530e56433419d24ce2d5ad1917d6f40ef53b9894992cbbe56');
INSERT INTO "entries" VALUES(5,'2026-11-24T08:32:53+00:00','icu','look','{"run":"run-1"}','f530cf57ad64000530e56433419d24ce2d5ad1917d6f40ef53b9894992cbbe56','d847d2ade81b22a36412799e76b96db73ab6c4846ba54c8062226b52fd350eaa');
INSERT INTO "entries" VALUES(6,'2026-11-24T08:32:53+00:00','icu','reserve','{"event":{"class":"ZCDpEvent","rho":0.003,"xi":0.0},"purpose":"fit marginal","run":"run-2"}','d847d2ade81b22a36412799e76b96db73ab6c4846ba54c8062226b52fd350eaa','6bd8615a04ad0b0785a70fc605f2c4ebeab16fc2a7741722d20b9e02145adc29');
INSERT INTO "entries" VALUES(7,'2026-11-24T08:32:53+00:00','icu','write-off','{"entry":6,"reason":"power cut"}','6bd8615a04ad0b0785a70fc605f2c4ebeab16fc2a7741722d20b9e02145adc29','f31daa4398425608bce23ba6a1e16f1dfa69516a9e2ec53787fbc329680add70');
INSERT INTO "entries" VALUES(8,'2026-11-24T08:32:53+00:00','maternity','reserve','{"event":{"class":"ZCDpEvent","rho":0.004,"xi":0.0},"purpose":"fit marginal","run":"run-3"}','f31daa4398425608bce23ba6a1e16f1dfa69516a9e2ec53787fbc329680add70','25fa9f5aed42ce822138acf2c00b686a8e4c6394ba4cafa659fd82f3dbe26d8b');
INSERT INTO "entries" VALUES(9,'2026-11-24T08:32:53+00:00','icu','cap','{"adjacency":"add-or-remove-one-patient","delta":1e-06,"disjoint_from":[],"epsilon":1.5,"key":"75c9c8c54b0f393c41b567eccad14ac3","reason":"board"}','25fa9f5aed42ce822138acf2c00b686a8e4c6394ba4cafa659fd82f3dbe26d8b','f58e1d5f78ec68080518f981062b2c38804a07822a447278d2070b9a0e91b1f8');
CREATE TABLE head (
	id INTEGER NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "head" VALUES(1,'9:f58e1d5f78ec68080518f981062b2c38804a07822a447278d2070b9a0e91b1f8');
COMMIT;
